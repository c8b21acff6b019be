#!/usr/bin/env bash
# Lets checkov look at what the charts make. It is large and has its own idea of which versions it needs, so it has an
# environment of its own, .checkov.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! .checkov/bin/checkov --version >/dev/null 2>&1; then
    echo "making .checkov (about a minute, once)" >&2
    rm -rf .checkov
    .venv/bin/python -I -m venv .checkov
    pip=(.checkov/bin/python -I -m pip -qq --disable-pip-version-check)
    "${pip[@]}" install --upgrade 'pip>=25.1' # the first that knows --group
    "${pip[@]}" install --group checkov
fi
SCONECTL_TEST_CHECKOV=.checkov/bin/checkov exec .venv/bin/pytest -q tests/unit/artefacts/test_checkov.py
