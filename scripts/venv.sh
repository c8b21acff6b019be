#!/usr/bin/env bash
# Makes .venv: a Python >= 3.11 with the project (editable) and its development tools. Does nothing if
# pyproject.toml is the one that .venv was made from.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
stamp=.venv/.made-from

find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3 /usr/bin/python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}

wanted() {
    echo "$root"
    cksum pyproject.toml
}

if [ -x .venv/bin/python ] && [ "$(wanted)" = "$(cat "$stamp" 2>/dev/null)" ]; then
    exit 0
fi

if ! python=$(find_python); then
    scripts/apt-install.sh python3 python3-venv
    python=$(find_python) || {
        echo "missing: Python 3.11 or newer — please install it and run this again" >&2
        exit 1
    }
fi
if ! "$python" -I -c 'import ensurepip' 2>/dev/null; then
    version=$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    scripts/apt-install.sh "python$version-venv"
fi

# A virtual environment does not survive a move: its scripts name the old place.
if [ -e .venv ] && { ! .venv/bin/python -I -c '' 2>/dev/null || ! grep -qsF "$root/.venv" .venv/bin/activate; }; then
    rm -rf .venv
fi
echo "making .venv with $("$python" --version) (about a minute, once)" >&2
[ -e .venv ] || "$python" -I -m venv .venv
pip=(.venv/bin/python -I -m pip -qq --disable-pip-version-check)
"${pip[@]}" install --upgrade 'pip>=25.1' # the first that knows --group
"${pip[@]}" install --editable . --group dev
wanted >"$stamp"
