#!/usr/bin/env bash
# Installs what some end-to-end tests need beside the engine: a registry, and a compiler for musl. Where that is
# not possible, those tests say that they are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=()
command -v docker-registry >/dev/null || wanted+=(docker-registry)
command -v musl-gcc >/dev/null || wanted+=(musl-tools)
command -v gcc >/dev/null || wanted+=(gcc libc6-dev)
if [ "${#wanted[@]}" != 0 ]; then
    scripts/apt-install.sh "${wanted[@]}" || echo "tests that need ${wanted[*]} will be skipped" >&2
fi
