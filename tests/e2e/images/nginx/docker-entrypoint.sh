#!/bin/sh
set -e

if [ "$1" = "nginx" ]; then
    echo "$0: starting as $(id -un) in $(pwd), $GREETING"
fi

exec "$@"
