#!/usr/bin/env bash
# Makes the native images that some end-to-end tests convert, from Debian packages on the Python base image. What the
# engine still has is not made again. Where they cannot be made, those tests say that they are skipped.
#
# Usage: scripts/test-images.sh [--names]     --names only prints what the images are called, one in a line
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=sconectl-test-image
jdk=sconectl-base/jdk:slim-bookworm
sources=tests/e2e/images
small="static musl musl-shell no-shell"
if [ "${1:-}" = --names ]; then
    for name in nginx redis mariadb clients volumes java node $small; do echo "$prefix/$name"; done
    exit 0
fi

export DOCKER_BUILDKIT=0 # the classic builder is the one that each engine has
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() { # OPTION... FOLDER
    docker build --rm --force-rm "$@" >"$work/log" 2>&1 && return
    tail -n 15 "$work/log" >&2
    echo "tests that convert images will be skipped: one could not be made, the last lines are above" >&2
    exit 1
}

base=$(scripts/base-image.sh)
bundle=$(scripts/ca-bundle.sh)
mkdir "$work/packages"
cat "${bundle:-/dev/null}" >"$work/packages/ca.pem"
cat >"$work/packages/Dockerfile" <<'DOCKERFILE'
ARG base
FROM ${base}
COPY ca.pem /tmp/ca.pem
ARG packages
RUN export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 && \
    if [ -s /tmp/ca.pem ]; then echo 'Acquire::https::CaInfo "/tmp/ca.pem";' >/etc/apt/apt.conf.d/ca; fi && \
    apt-get update -q && apt-get install -q -y --no-install-recommends ${packages} && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /tmp/ca.pem /etc/apt/apt.conf.d/ca
DOCKERFILE

# The base image with Debian packages. A tag keeps it as the engine's cache.
with_packages() { # TAG PACKAGE...
    docker image inspect "$1" >/dev/null 2>&1 || echo "making $1 (once)" >&2
    build -t "$1" --build-arg "base=$base" --build-arg "packages=${*:2}" "$work/packages"
}

image() { # NAME PACKAGE...
    with_packages "$prefix/packages:$1" "${@:2}"
    build -t "$prefix/$1" --build-arg "packages=$prefix/packages:$1" --build-arg "jdk=$jdk" "$sources/$1"
}

image nginx nginx-light
image redis redis-server
image mariadb mariadb-server
image clients redis-tools mariadb-client openssl curl procps tcpdump
image node nodejs
docker image inspect "$jdk" >/dev/null 2>&1 || with_packages "$jdk" default-jdk-headless
image java default-jre-headless
with_packages "$prefix/packages:small" gcc libc6-dev musl-tools busybox-static
for name in $small; do
    build -t "$prefix/$name" --target "$name" --build-arg "packages=$prefix/packages:small" "$sources/small"
done
build -t "$prefix/volumes" --build-arg "packages=$prefix/packages:small" --build-arg "base=$base" "$sources/volumes"
