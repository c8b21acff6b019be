#!/usr/bin/env bash
# Makes the native image of this example, with a certificate of its own making.
#
# NATIVE_IMAGE  what it is called (native_flask_restapi_image)
# BASE_IMAGE    an image with Python and pip; without it the one that the project's scripts find or make
set -euo pipefail
cd "$(dirname "$0")"

base=${BASE_IMAGE:-$(../../scripts/base-image.sh)}
ca=$(../../scripts/ca-bundle.sh)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp native/* "$context"
cat "${ca:-/dev/null}" >"$context/ca.pem" # what downloads trust on this machine, if it has a wish
openssl req -x509 -newkey rsa:4096 -nodes -days 365 -subj /CN=api -addext subjectAltName=DNS:api \
    -keyout "$context/flask.key" -out "$context/flask.crt" 2>/dev/null
DOCKER_BUILDKIT=0 docker build -q -t "${NATIVE_IMAGE:-native_flask_restapi_image}" --build-arg "BASE_IMAGE=$base" "$context" >/dev/null
echo OK
