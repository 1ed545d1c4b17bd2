#!/usr/bin/env bash
# Makes .venv-bench, the environment of the Python programs that refglmm is timed against (glmm, gpboost), and says
# which Debian packages the R programs need. What is missing is left out of the benchmark; nothing here stops it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

VENV=.venv-bench
say() { printf 'bench: %s\n' "$*" >&2; }

has() { "$VENV/bin/python" -c "import $1" 2>/dev/null; }

if ! { [ -x "$VENV/bin/python" ] && has glmm && has gpboost; }; then
    base=.venv/bin/python
    [ -x "$base" ] || base=python3
    say "installing glmm and gpboost into $VENV (once)"
    rm -rf "$VENV"
    "$base" -m venv "$VENV"
    for package in glmm gpboost; do
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input pandas "$package" ||
            say "$package could not be installed; it is left out"
    done
fi

if ! command -v Rscript >/dev/null; then
    say "R is missing; lme4 and glmmTMB are left out."
    say "Type: sudo apt-get install r-base-core r-cran-lme4 r-cran-glmmtmb r-cran-mlmrev r-cran-jsonlite"
else
    for package in jsonlite:r-cran-jsonlite lme4:r-cran-lme4 glmmTMB:r-cran-glmmtmb mlmRev:r-cran-mlmrev; do
        Rscript --vanilla -e "quit(status = !requireNamespace('${package%%:*}', quietly = TRUE))" >/dev/null 2>&1 ||
            say "the R package ${package%%:*} is missing. Type: sudo apt-get install ${package##*:}"
    done
fi
