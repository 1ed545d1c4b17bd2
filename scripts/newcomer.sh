#!/usr/bin/env bash
# How long it takes somebody who has nothing but Python and a data file to get to a first fit of their own.
#
#   scripts/newcomer.sh            pip install of a wheel, as from an index
#   scripts/newcomer.sh clone      git clone of this repository, and pip install of that
#
# An empty folder, an empty home, no caches; only settings of the network (proxies, certificates, package index) are
# kept. Prints the seconds of each step, and fails if they are more than five minutes. PYTHON chooses the interpreter.
set -euo pipefail
export LC_ALL=C # a decimal point in times
REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LIMIT=300

way=${1:-wheel}
case $way in wheel | clone) ;; *) echo "newcomer: there is no '$way'; say wheel or clone" >&2 && exit 2 ;; esac
python=$(command -v "${PYTHON:-python3}")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir "$WORK/home" "$WORK/desk"
cd "$WORK/desk"

kept=()
while IFS='=' read -r name value; do
    kept+=("$name=$value")
done < <(env | grep -iE '^(PIP_[A-Z_]*|[A-Z]*_PROXY|SSL_[A-Z_]*|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|LC_ALL)=' |
    grep -viE '^PIP_(CACHE_DIR|TARGET|PREFIX|USER)=')

# A command as the newcomer runs it.
alone() {
    env -i "${kept[@]}" HOME="$WORK/home" PATH="$WORK/desk/env/bin:$(dirname "$python"):/usr/bin:/bin" \
        PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 "$@"
}

sum() { awk "BEGIN { print ($*) }"; }
total=0

# Run a step, and print how long it took, and how many seconds of a processor.
step() {
    local what=$1 seconds user system TIMEFORMAT='%R %U %S'
    shift
    { time "$@" >"$WORK/log" 2>&1; } 2>"$WORK/time" ||
        { cat "$WORK/log" >&2; echo "newcomer: FAILED at: $what" >&2; exit 1; }
    read -r seconds user system <"$WORK/time"
    total=$(sum "$total + $seconds")
    printf '%8.1f s (cpu %5.1f s)  %s\n' "$seconds" "$(sum "$user + $system")" "$what"
}

# 24 clinics with 10 patients each: a file like the one that somebody has.
write_data() {
    "$python" - <<'PY'
import math
import random

rng = random.Random(7)
with open("trial.csv", "w") as file:
    print("cured,dose,clinic", file=file)
    for clinic in range(24):
        shift = rng.gauss(0.0, 0.8)
        for _ in range(10):
            dose = round(rng.uniform(0.0, 2.0), 2)
            cured = rng.random() < 1.0 / (1.0 + math.exp(-(-1.0 + dose + shift)))
            print(int(cured), dose, f"c{clinic:02d}", sep=",", file=file)
PY
}

# Not counted: for somebody else the wheel lies on an index.
if [ "$way" = wheel ]; then
    "$python" -m venv "$WORK/builder"
    "$WORK/builder/bin/python" -m pip install --quiet --disable-pip-version-check build
    git -C "$REPOSITORY" ls-files -z --cached --others --exclude-standard |
        tar --null -C "$REPOSITORY" -T - -cf - | (mkdir "$WORK/source" && tar -xf - -C "$WORK/source")
    "$WORK/builder/bin/python" -m build --wheel --outdir "$WORK/index" "$WORK/source" >"$WORK/log" 2>&1
fi

write_data
echo "newcomer, by way of a $way ($(nproc) cores, load average $(uptime | sed 's/.*load average: //')):"
[ "$way" = wheel ] || step "git clone" alone git clone --quiet "file://$REPOSITORY" refglmm-source
step "python -m venv env" alone "$python" -m venv env
if [ "$way" = wheel ]; then
    step "pip install refglmm" alone env/bin/pip install --quiet "$(ls "$WORK"/index/*.whl)"
else
    step "pip install ./refglmm-source" alone env/bin/pip install --quiet ./refglmm-source
fi
step 'refglmm fit "cured ~ dose + (1 | clinic)" trial.csv --family binomial (compiles)' \
    alone refglmm fit "cured ~ dose + (1 | clinic)" trial.csv --family binomial
cat >fit.py <<'PY'
import pandas as pd

import refglmm as rg

trial = pd.read_csv("trial.csv")
fit = rg.glmer("cured ~ dose + (1 | clinic)", trial, family="binomial")
print(fit.summary())
print(fit.convergence)
PY
step "python fit.py, the same fit in Python" alone python fit.py
grep -q '^converged' "$WORK/log" || { echo "newcomer: FAILED: the fit is not certified" >&2; exit 1; }
printf '%8.1f s                together\n' "$total"
[ "$(sum "$total < $LIMIT")" = 1 ] || { echo "newcomer: FAILED: more than $LIMIT s (is the machine busy?)" >&2; exit 1; }
