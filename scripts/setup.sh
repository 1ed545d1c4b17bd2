#!/usr/bin/env bash
# Makes the environment that every make target uses: SuiteSparse headers, .venv, refglmm installed editable.
#
# Idempotent. A finished environment carries a stamp (hash of everything that decides its content); while the
# stamp fits, this script returns at once. An interrupted run leaves no stamp, so the next one starts afresh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
STAMP=$VENV/refglmm-setup.stamp
LOG=$VENV.log
OLDEST=11
NEWEST=14

say() { printf 'setup: %s\n' "$*" >&2; }

# Two lines: what is missing, what to type. Then stop.
stop() {
    say "$1"
    say "$2"
    exit 1
}

fingerprint() {
    { cat pyproject.toml setup.cfg scripts/setup.sh; pwd; } | cksum
}

may_use_apt() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

# Install Debian packages, asking nothing; refresh the package lists when the first attempt finds nothing.
apt_install() {
    local options=(-y -qq --no-install-recommends -o Dpkg::Use-Pty=0)
    say "installing $* with apt"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" >"$LOG" 2>&1 && return
    as_root apt-get update -qq >"$LOG" 2>&1 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" >"$LOG" 2>&1 ||
        { tail -n 5 "$LOG" >&2; return 1; }
}

# need WHAT PACKAGE TEST...: make TEST succeed, with apt if possible; otherwise say what to install.
need() {
    local what=$1 package=$2
    shift 2
    "$@" && return
    if may_use_apt; then apt_install "$package" || true; fi
    "$@" && return
    if command -v apt-get >/dev/null; then
        stop "$what is missing." "Type: sudo apt-get install $package   and run this again."
    elif command -v dnf >/dev/null; then
        stop "$what is missing." "Install it with dnf (suitesparse-devel, gcc, python3-devel) and run this again."
    elif command -v brew >/dev/null; then
        stop "$what is missing." "Type: brew install suite-sparse   and run this again."
    fi
    stop "$what is missing." "Install it (on Debian it is called $package) and run this again."
}

usable_python() {
    "$1" -c "import sys; sys.exit(not (3, $OLDEST) <= sys.version_info[:2] <= (3, $NEWEST))" 2>/dev/null
}

# The first interpreter that really starts and is new enough (a pyenv shim may exist and not run).
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.14 python3.11 /usr/bin/python3; do
        [ -n "$candidate" ] && usable_python "$candidate" && { command -v "$candidate"; return; }
    done
    return 1
}

has_python() { find_python >/dev/null; }
has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }
has_python_headers() {
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}
has_compiler() { command -v cc >/dev/null || command -v gcc >/dev/null; }

# Folder with cholmod.h: where scikit-sparse looks, plus Homebrew's prefix.
find_suitesparse() {
    local folder
    for folder in "${SUITESPARSE_INCLUDE_DIR:-}" /usr/include/suitesparse /usr/local/include/suitesparse \
        /opt/homebrew/include/suitesparse /usr/include /usr/local/include; do
        [ -n "$folder" ] && [ -f "$folder/cholmod.h" ] && [ -f "$folder/SuiteSparse_config.h" ] &&
            { echo "$folder"; return; }
    done
    return 1
}

has_suitesparse() { find_suitesparse >/dev/null; }

# "5.12" from the two #define lines of SuiteSparse_config.h.
suitesparse_version() {
    awk '$1 == "#define" && $2 == "SUITESPARSE_MAIN_VERSION" { main = $3 }
         $1 == "#define" && $2 == "SUITESPARSE_SUB_VERSION" { sub_ = $3 }
         END { print main "." sub_ }' "$(find_suitesparse)/SuiteSparse_config.h"
}

has_chromium() {
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
}

# One test file opens a page of the book in a browser, and is skipped without one. A browser is much to install on
# somebody's machine unasked, so that is done only where CI=true says that nobody sits there.
offer_chromium() {
    has_chromium && return
    if [ "${CI:-}" = true ] && may_use_apt; then apt_install chromium || true; fi
    has_chromium || say "no Chromium: the tests of the book's interactive page will be skipped"
}

# The scikit-sparse requirement that fits SuiteSparse $1, from the table in setup.cfg.
scikit_sparse_for() {
    "$python" - "$1" <<'PY'
import configparser
import sys

table = configparser.ConfigParser()
table.read("setup.cfg")
section = table["scikit-sparse"]
number = lambda text: tuple(int(part) for part in text.split("."))
print(section["newer" if number(sys.argv[1]) >= number(section["newer_from"]) else "older"])
PY
}

# pip's chatter goes to the log; the end of it is shown only when pip fails.
pip_install() {
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@" >"$LOG" 2>&1 ||
        { tail -n 30 "$LOG" >&2; return 1; }
}

wanted=$(fingerprint)
if [ -x "$VENV/bin/python" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

started=$SECONDS
need "Python 3.$OLDEST to 3.$NEWEST" python3 has_python
python=$(find_python)
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
need "the venv module of Python $version" "python$version-venv" has_venv
need "a C compiler" build-essential has_compiler
need "the header files of Python $version" "python$version-dev" has_python_headers
need "SuiteSparse with its header files" libsuitesparse-dev has_suitesparse
offer_chromium

suitesparse=$(suitesparse_version)
scikit_sparse=$(scikit_sparse_for "$suitesparse")
say "Python $version, SuiteSparse $suitesparse, $scikit_sparse; installing into $VENV (once, one to three minutes)"

rm -rf "$VENV"
"$python" -m venv "$VENV"
pip_install --upgrade "pip>=24" || stop "pip could not be upgraded." "Check the network and run this again."
pip_install --editable ".[cholmod,dev]" "$scikit_sparse" ||
    stop "the packages could not be installed (messages above)." "Mend that and run this again."

rm -f "$LOG"
echo "$wanted" >"$STAMP"
say "ready after $((SECONDS - started)) s"
