#!/usr/bin/env bash
# Undoes what `make demo` and `make test` started and made. Keeps what is costly to get again and harms
# nobody: installed Debian packages, the Python base image, the archive it was made from.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

if docker info >/dev/null 2>&1; then
    docker rm --force sconectl-demo >/dev/null 2>&1 || true
fi
# `cas status` and `cas stop` go by a lock in the directory, never by a process id that may be stale.
if [ -d .demo/cas ]; then
    scripts/venv.sh
    if .venv/bin/sconectl cas status --dir "$root/.demo/cas" >/dev/null 2>&1; then
        .venv/bin/sconectl cas stop --dir "$root/.demo/cas" >/dev/null
    fi
fi

for undo in .demo/*/clean-up; do # of examples whose README was run
    if [ -e "$undo" ]; then bash "$undo" >/dev/null 2>&1 || true; fi
done

if [ -d .demo/data ]; then
    scripts/venv.sh
    XDG_DATA_HOME=$root/.demo/data .venv/bin/sconectl down --release demo --volumes --cas-config "$root/.demo/cas-config" >/dev/null 2>&1 || true
fi

if docker info >/dev/null 2>&1; then
    docker images --format '{{.Repository}}:{{.Tag}}' --filter reference='sconectl-demo/*' \
        --filter reference='sconectl-native/python-hello-user' --filter reference='sconectl-launcher' \
        --filter reference='sconectl-native/curated-*' --filter reference='sconectl-test-image/*' \
        --filter reference='sconectl-test-kept-*/*' |
        grep -v '<none>' | xargs -r docker rmi >/dev/null || true
    docker images --format '{{.Repository}}:{{.Tag}}' --filter reference='sconectl-base/*' |
        sed 's/^/kept: a base image; remove it with: docker rmi /'
fi
cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/sconectl
if [ -d "$cache" ]; then echo "kept: downloads and build caches; remove them with: rm -r $cache"; fi

# Only the engine that scripts/engine.sh started. A process id may have been given away since, so the name
# must fit, too.
if pid=$(cat .demo/dockerd.pid 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
    kill "$pid"
    for _ in $(seq 60); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    echo "stopped: the container engine that we started"
fi

rm -rf .demo .venv .checkov .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
find sconectl tests bench examples scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
echo "clean"
