#!/bin/sh
# Create the virtual environments the scenarios run in; quick when they are already as the requirement files say.
#   setup.sh [FOLDER]     default: $ZOO_VENVS, else $STETH_VENVS, else .zoo-venvs in the repository's root
# Interpreters are looked up under the folders of pyenv, then as python3.X on PATH, then in the usual places outside it.
# An interpreter that is not there is skipped; its scenarios then report `skipped`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-${ZOO_VENVS:-${STETH_VENVS:-$here/../../.zoo-venvs}}}

runs() { # an executable that is really this version (a version manager's shim may be there without its Python)
    [ -x "$2" ] && [ "$("$2" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]
}

interpreter() {
    for found in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python "$(command -v "python$1" || true)" \
        "/usr/bin/python$1" "/usr/local/bin/python$1" "/opt/python$1/bin/python$1" "/opt/python/$1"*/bin/python; do
        if runs "$1" "$found"; then echo "$found"; return; fi
    done
}

make_venv() { # label, version, requirements file
    python=$(interpreter "$2")
    if [ -z "$python" ]; then echo "skip $1: no python$2"; return; fi
    stamp=$(printf '%s ' "$python"; if [ -n "$3" ]; then cksum < "$here/$3"; fi)
    if [ -x "$target/$1/bin/python" ] && [ "$(cat "$target/$1/.stamp" 2>/dev/null)" = "$stamp" ]; then
        echo "$1: as it should be"
        return
    fi
    echo "$1: $python"
    rm -rf "${target:?}/$1"
    "$python" -m venv "$target/$1"
    if [ -n "$3" ]; then
        "$target/$1/bin/python" -m pip install -q --disable-pip-version-check -r "$here/$3"
    fi
    printf '%s\n' "$stamp" > "$target/$1/.stamp"
}

mkdir -p "$target"
make_venv main 3.11 requirements.txt
make_venv legacy 3.9 requirements-legacy.txt
make_venv py313 3.13 requirements-py313.txt
make_venv py312 3.12 ""
make_venv py38 3.8 ""
