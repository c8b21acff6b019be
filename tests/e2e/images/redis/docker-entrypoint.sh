#!/bin/sh
set -e

# The first argument is an option or a configuration file: it is meant for the server.
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
    set -- redis-server "$@"
fi

echo "$0: starting as $(id -un) in $(pwd), version $REDIS_VERSION"
exec "$@"
