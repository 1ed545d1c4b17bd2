#!/usr/bin/env bash
# Makes .venv-bench-bayes, the environment of the Python programs that refglmm's sampler is timed against (nutpie with
# PyMC, blackjax), and says which Debian package rstanarm needs. What is missing is left out; nothing here stops it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

VENV=.venv-bench-bayes
say() { printf 'bench-bayes: %s\n' "$*" >&2; }

has() { "$VENV/bin/python" -c "import $1" 2>/dev/null; }

if ! { [ -x "$VENV/bin/python" ] && has nutpie && has pymc && has blackjax; }; then
    base=.venv/bin/python
    [ -x "$base" ] || base=python3
    say "installing nutpie, PyMC and blackjax into $VENV (once)"
    rm -rf "$VENV"
    "$base" -m venv "$VENV"
    for package in "pymc nutpie" "jax blackjax"; do
        # shellcheck disable=SC2086
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input pandas $package ||
            say "$package could not be installed; left out"
    done
fi

if ! command -v Rscript >/dev/null; then
    say "R is missing; rstanarm is left out. Type: sudo apt-get install r-base-core r-cran-rstanarm r-cran-jsonlite"
else
    for package in jsonlite:r-cran-jsonlite rstanarm:r-cran-rstanarm; do
        Rscript --vanilla -e "quit(status = !requireNamespace('${package%%:*}', quietly = TRUE))" >/dev/null 2>&1 ||
            say "the R package ${package%%:*} is missing. Type: sudo apt-get install ${package##*:}"
    done
fi
