"""What is said about fits: each check with both of its answers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from posterior_fits import fit_of_positions, normal_fit

import refglmm as rg
from refglmm.bayes.diagnose import (
    ADVICE,
    Check,
    Diagnosis,
    _elbo_checks,
    _finite_check,
    _metric_check,
    _starts_check,
    _weight_checks,
    graded,
    judged,
)


def status(fit):
    return dict(zip(fit.diagnose().table["check"], fit.diagnose().table["status"], strict=True))


def test_chains_in_order(linear_mode):
    found = normal_fit(linear_mode, draws=450).diagnose()
    words = dict(zip(found.table["check"], found.table["status"], strict=True))
    assert words.pop("Metric") == "skipped"
    assert set(words.values()) == {"ok"}
    assert found.status == "ok"
    assert found.recommendations == ()
    assert "No problem was found." in str(found)


def test_sampled_chains(cbpp):
    found = status(cbpp)
    assert found["Metric"] == "ok"
    assert found["Divergences"] == "ok"
    assert found["Priors"] == "ok"


@pytest.mark.parametrize(
    ("stat", "value", "check", "want"),
    [
        ("divergent", 1, "Divergences", "warning"),
        ("divergent", 40, "Divergences", "problem"),
        ("treedepth", 1, "Tree depth", "warning"),
        ("treedepth", 40, "Tree depth", "problem"),
    ],
)
def test_shares_of_transitions(linear_mode, stat, value, check, want):
    stats = np.zeros((4, 100), dtype=bool if stat == "divergent" else np.int64)
    stats.ravel()[:value] = True if stat == "divergent" else 10
    fit = normal_fit(linear_mode, **{stat: stats})
    assert status(fit)[check] == want
    assert ADVICE[check] in fit.diagnose().recommendations
    assert f"{value} of 400 transitions" in str(fit.diagnose())


def test_acceptance_and_energies(linear_mode):
    accept = np.full((4, 100), 0.9)
    accept[2] = 0.5
    assert status(normal_fit(linear_mode, accept=accept))["Acceptance"] == "warning"
    accept[2] = 0.3
    energy = np.cumsum(np.random.default_rng(1).standard_normal((4, 100)), axis=1)
    found = status(normal_fit(linear_mode, accept=accept, energy=energy))
    assert found["Acceptance"] == "problem"
    assert found["E-BFMI"] in ("warning", "problem")


def test_chains_that_disagree(linear_mode):
    positions = linear_mode.mode_positions[:400].reshape(4, 100, -1).copy()
    positions[0, :, 1] += 3.0
    found = fit_of_positions(linear_mode.model, positions).diagnose()
    assert found.status == "problem"
    assert "largest" in found.table.set_index("check").loc["R-hat", "found"]
    assert found.recommendations[0] == ADVICE["R-hat"]
    assert "Do not rely on this fit" in str(found)
    assert "PROBLEM" in found._repr_html_()


def test_too_few_draws(linear_mode):
    found = status(normal_fit(linear_mode, draws=60))
    assert found["Bulk ESS"] == "warning"


def test_draws_that_are_not_finite(linear_mode):
    lp = np.zeros((4, 100))
    lp[1, 1] = -np.inf
    fit = normal_fit(linear_mode)
    broken = SimpleNamespace(draws=SimpleNamespace(stats={"lp": lp}, values=lp))
    assert _finite_check(fit).status == "ok"
    assert _finite_check(broken).found == "1 of 400 not finite"


def test_metric():
    nearly = SimpleNamespace(whitenings=[SimpleNamespace(C=np.diag([1.0, 1e-5]))])
    assert _metric_check(nearly).status == "warning"
    assert _metric_check(None).status == "skipped"


def test_mode(linear_mode, cbpp_mode):
    found = linear_mode.diagnose()
    words = dict(zip(found.table["check"], found.table["status"], strict=True))
    assert words.pop("Starts") == "skipped"
    assert set(words.values()) == {"ok"}
    assert found.title == "Diagnosis of the posterior mode"
    priors = cbpp_mode.diagnose().table.set_index("check").loc["Priors"]
    assert priors["found"].startswith("improper (no Bayes factors): Intercept")


def test_starts_that_end_elsewhere():
    assert _starts_check(SimpleNamespace(starts=np.array([-3.0, -3.0 - 1e-6]))).status == "ok"
    found = _starts_check(SimpleNamespace(starts=np.array([-3.0, -5.0])))
    assert (found.status, found.found) == ("warning", "1 of 2 reached the best mode")


def test_mode_at_the_boundary():
    rng = np.random.default_rng(0)
    data = {"y": rng.normal(size=40), "g": np.repeat([*"abcdefgh"], 5)}
    data["y"] -= np.repeat(data["y"].reshape(8, 5).mean(axis=1), 5)  # no variance between groups at all
    with pytest.warns(rg.errors.SingularFitWarning, match=r"sd\[g:Int\] at zero"):
        fit = rg.GLMM("y ~ 1 + (1 | g)", data).optimize()
    found = status(fit)
    assert found["Boundary"] == "warning"
    assert found["Standard errors"] == "warning"
    with pytest.raises(rg.errors.NotAvailableError, match="at the boundary: there is no normal approximation"):
        fit.predict()


def test_approximations():
    result = SimpleNamespace(ess=90.0, elbo=np.nan, elbo_se=0.1, converged=False, message="stopped", disagreement=0.3)
    fit = SimpleNamespace(khat=0.6, result=result)
    assert [check.status for check in _weight_checks(fit)] == ["warning", "problem"]
    assert [check.status for check in _elbo_checks(fit)] == ["problem", "warning", "warning"]
    result.disagreement, result.elbo, result.converged = np.nan, -4.0, True
    assert [check.status for check in _elbo_checks(fit)] == ["ok", "ok", "skipped"]


def test_words():
    assert graded("R-hat", 1.02, (1.01, 1.05), "x").status == "warning"
    assert graded("Acceptance", 0.39, (0.6, 0.4), "x", above=False).status == "problem"
    assert graded("Acceptance", np.nan, (0.6, 0.4), "x").status == "skipped"
    assert judged("Runs", "x") == Check("Runs", "ok", "x")
    both = Diagnosis("t", (judged("R-hat", "a", warning=True), judged("Divergences", "b", problem=True)))
    assert both.status == "problem"
    assert both.recommendations == (ADVICE["Divergences"], ADVICE["R-hat"])
    assert Diagnosis("t", (judged("Runs", "x", skipped=True),)).status == "ok"
