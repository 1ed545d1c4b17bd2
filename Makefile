# The two commands are `make demo` and `make test`; both do the whole set-up first and reuse it afterwards.

PYTHON := .venv/bin/python

.PHONY: setup demo test lint docs validate smoke newcomer bench bench-bayes peers calibrate sbc clean

setup:
	@bash scripts/setup.sh

demo: setup
	@$(PYTHON) -m refglmm.demo

lint: setup
	@$(PYTHON) -m ruff check refglmm tests validation docs
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --config pyproject.toml --no-cache

# tests/conftest.py gives the run a fresh numba cache and throws it away afterwards.
test: lint
	@$(PYTHON) -m pytest -n auto

# The book: every page executed, warnings are errors; docs/_build/html/index.html. Needs no network once it is set up.
docs: setup
	@$(PYTHON) -c "import furo, myst_nb, sphinx_copybutton, sphinx_design" 2>/dev/null || \
		$(PYTHON) -m pip install -qq --disable-pip-version-check --no-input --editable ".[docs]"
	@$(PYTHON) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Published figures, other programs, gold optima, verdicts of the cross-check; writes validation/index.html, which also
# shows the last `make calibrate` and `make sbc`.
validate: setup
	@$(PYTHON) -m validation
	@$(PYTHON) -m validation.crosscheck

# Wheel and sdist, each built, installed into an empty environment, and used there.
smoke: setup
	@PYTHON=$(abspath $(PYTHON)) bash scripts/smoke.sh

# From nothing to a first fit of one's own, timed: by pip from a wheel, and from a fresh clone.
newcomer: setup
	@PYTHON=$(abspath $(PYTHON)) bash scripts/newcomer.sh wheel
	@PYTHON=$(abspath $(PYTHON)) bash scripts/newcomer.sh clone

# Beside lme4, glmmTMB, glmm and gpboost, as far as they are there; writes validation/bench/report.md.
# BENCH_ARGS="--quick" for two repeats of the small models.
bench: setup
	@bash validation/bench/setup.sh
	@$(PYTHON) -m validation.bench.run $(BENCH_ARGS)

# The recorded fits of lme4, glmmTMB and GLMMadaptive once more with what is installed here, beside the records.
# PEERS_ARGS="lme4 --cases cbpp --out somewhere" for a look.
peers: setup
	@$(PYTHON) -m validation.peers_again $(PEERS_ARGS)

# Coverage, residuals and tests on simulated data; writes validation/calibration/report.md, which says how long
# it took. CALIBRATE_ARGS="--datasets 50 --out somewhere" for a look.
calibrate: setup
	@$(PYTHON) -m validation.calibration $(CALIBRATE_ARGS)

# Posteriors beside rstanarm, nutpie and blackjax, as far as they are there; writes validation/bench_bayes/report.md.
# BENCH_ARGS="--quick" for cbpp alone, one round.
bench-bayes: setup
	@bash validation/bench_bayes/setup.sh
	@$(PYTHON) -m validation.bench_bayes $(BENCH_ARGS)

# Simulation-based calibration of the Bayesian side; goes on where an interrupted run was, and writes
# validation/sbc/report.md. SBC_ARGS="--pairs gaussian --datasets 50 --out somewhere" for a look.
sbc: setup
	@$(PYTHON) -m validation.sbc $(SBC_ARGS)

clean:
	rm -rf .venv .venv-bench .venv-bench-bayes build dist refglmm.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find refglmm tests validation -name __pycache__ -type d -prune -exec rm -rf {} +
