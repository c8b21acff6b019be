#!/usr/bin/env bash
# Installs Debian packages, quietly, if this machine can. Usage: scripts/apt-install.sh PACKAGE...
set -euo pipefail

if ! command -v apt-get >/dev/null; then
    echo "missing: $* — this machine has no apt-get, so please install it by hand" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "missing: $* — please run as root: apt-get install $*" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT

install() {
    apt-get -o DPkg::Lock::Timeout=120 install -y -q "$@" </dev/null >"$log" 2>&1
}

echo "installing $* with apt-get" >&2
install "$@" && exit 0
# The package lists may be absent or old. One broken foreign source must not stop us, so the result of the
# update is judged by whether the packages can be installed afterwards.
apt-get -o DPkg::Lock::Timeout=120 update -q </dev/null >"$log" 2>&1 || true
install "$@" && exit 0
tail -n 15 "$log" >&2
echo "apt-get could not install $*; its last lines are above" >&2
exit 1
