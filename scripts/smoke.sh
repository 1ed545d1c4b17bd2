#!/usr/bin/env bash
# Builds wheel and sdist, installs each into an empty environment, and tries the commands there.
#
#   scripts/smoke.sh            both
#   scripts/smoke.sh wheel      one of them (or sdist)
#
# Everything happens in a temporary folder, which is removed afterwards. PYTHON chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
unset PYTHONPATH
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

say() { printf 'smoke: %s\n' "$*"; }
fail() {
    say "FAILED: $*" >&2
    exit 1
}

# A clean copy: what is not in the repository must not get into an archive.
copy_sources() {
    mkdir "$WORK/source"
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -xf - -C "$WORK/source"
    else
        tar --exclude=./.venv --exclude=__pycache__ -cf - . | tar -xf - -C "$WORK/source"
    fi
}

# pip's chatter is shown only when it fails.
pip_install() {
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "${@:2}" >"$WORK/pip.log" 2>&1 ||
        { tail -n 30 "$WORK/pip.log" >&2; fail "pip install ${*:2}"; }
}

new_environment() {
    "$PYTHON" -m venv "$1"
    pip_install "$1" --upgrade "pip>=24"
}

build() {
    say "building"
    new_environment "$WORK/builder"
    pip_install "$WORK/builder" build twine
    "$WORK/builder/bin/python" -m build --outdir "$WORK/dist" "$WORK/source" >"$WORK/build.log" 2>&1 ||
        { tail -n 30 "$WORK/build.log" >&2; fail "python -m build"; }
    "$WORK/builder/bin/python" -m twine check --strict "$WORK"/dist/* >"$WORK/out" 2>&1 ||
        { cat "$WORK/out" >&2; fail "twine check: the README does not render, or the metadata are wrong"; }
    ls -l "$WORK/dist" | awk 'NR > 1 { printf "smoke: %s, %d kB\n", $9, $5 / 1024 }'
}

# What an archive may hold.
check_contents() {
    local wheel sdist
    wheel=$(ls "$WORK"/dist/*.whl)
    sdist=$(ls "$WORK"/dist/*.tar.gz)
    "$PYTHON" -m zipfile -l "$wheel" >"$WORK/wheel.list"
    tar -tzf "$sdist" >"$WORK/sdist.list"
    grep -q 'refglmm/py\.typed' "$WORK/wheel.list" || fail "no py.typed in the wheel"
    grep -q 'refglmm/datasets/cbpp\.csv' "$WORK/wheel.list" || fail "no data in the wheel"
    ! grep -E '^(tests|validation|docs|scripts)/' "$WORK/wheel.list" || fail "these do not belong into the wheel"
    ! grep -E '\.(pyc|nbi|nbc)' "$WORK/wheel.list" "$WORK/sdist.list" || fail "compiled files in an archive"
    for part in tests/test_model.py validation/published.json docs/conf.py scripts/setup.sh CHANGELOG.md Makefile; do
        grep -q "/$part\$" "$WORK/sdist.list" || fail "no $part in the sdist"
    done
    mkdir "$WORK/metadata"
    (cd "$WORK/metadata" && "$PYTHON" -m zipfile -e "$wheel" .)
    ! grep -rE "file://|$WORK|$PWD|/home/" "$WORK"/metadata/*.dist-info || fail "machine paths in the metadata"
    say "contents are as they should be"
}

# Run a command in the new environment, in an empty folder, and keep what it prints.
try() {
    local expected=$1 code=0
    shift
    (cd "$WORK/empty" && "$@") >"$WORK/out" 2>"$WORK/err" || code=$?
    [ "$code" = "$expected" ] || { cat "$WORK/out" "$WORK/err" >&2; fail "'${*##*/}' ended with $code, not $expected"; }
}

prints() { grep -qF -- "$1" "$WORK/out" || { cat "$WORK/out" >&2; fail "the output lacks '$1'"; }; }

# Install ARCHIVE and use it as somebody would who has nothing else.
check_installed() {
    local kind=$1 archive=$2 env="$WORK/$1-env" begin=$SECONDS
    new_environment "$env"
    pip_install "$env" "$archive"
    say "$kind installed in $((SECONDS - begin)) s"
    rm -rf "$WORK/empty"
    mkdir "$WORK/empty"
    export NUMBA_CACHE_DIR="$WORK/$kind-kernels"
    local command="$env/bin/refglmm" formula="cbind(incidence, size - incidence) ~ period + (1 | herd)"

    try 0 "$command" --version
    prints "refglmm $("$env/bin/python" -c 'from importlib.metadata import version; print(version("refglmm"))')"
    try 0 "$command" doctor
    sed 's/^/smoke:   /' "$WORK/out"
    try 0 "$command" fit "$formula" data:cbpp --family binomial --json fit.json --html fit.html
    prints "-1.3985     0.2325  -6.016"
    prints "converged"
    try 0 "$command" datasets
    prints "cbpp"
    try 0 "$command" datasets cbpp --out cbpp.csv
    try 0 "$command" fit "$formula" cbpp.csv --family binomial --factor period herd
    prints "-1.3985     0.2325  -6.016"
    try 2 "$command" fit "$formula" missing.csv
    try 0 "$env/bin/python" -m refglmm --help
    # No `! command` here: bash would not stop at it.
    try 1 "$env/bin/python" -c "import tests"
    try 1 "$env/bin/python" -c "import validation"
    try 0 "$env/bin/python" -c "import refglmm, pathlib; assert (pathlib.Path(refglmm.__file__).parent / 'py.typed').exists()"
    say "$kind works"
}

kinds=${*:-wheel sdist}
copy_sources
build
check_contents
for kind in $kinds; do
    case $kind in
        wheel) check_installed wheel "$(ls "$WORK"/dist/*.whl)" ;;
        sdist) check_installed sdist "$(ls "$WORK"/dist/*.tar.gz)" ;;
        *) fail "there is no '$kind'; say wheel or sdist" ;;
    esac
done
say "all is well"
