#!/usr/bin/env bash
# Installs what some tests need beside the engine: a registry, a compiler for musl, and the programs that look
# at the CAS from outside. Where that is not possible, those tests say that they are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=()
needs() { # COMMAND PACKAGE...
    command -v "$1" >/dev/null || wanted+=("${@:2}")
}
PATH=$PATH:/usr/sbin:/sbin
needs docker-registry docker-registry
needs musl-gcc musl-tools
needs gcc gcc libc6-dev
needs curl curl
needs openssl openssl
needs envsubst gettext-base
needs jq jq
needs ps procps # of which engines make `docker top`
needs gpg gpg gpg-agent
needs sqlite3 sqlite3
needs strings binutils
needs nginx nginx-light
needs redis-server redis-server
needs redis-cli redis-tools
needs faketime faketime
needs docker-compose docker-compose
needs chromium-headless-shell chromium-headless-shell
if [ "${#wanted[@]}" != 0 ]; then
    # Only the programs are wanted, not the services of their packages.
    RUNLEVEL=1 scripts/apt-install.sh --no-install-recommends "${wanted[@]}" ||
        echo "tests that need ${wanted[*]} will be skipped" >&2
fi
