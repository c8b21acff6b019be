#!/usr/bin/env bash
# Makes sure that a container engine answers; starts Docker's on a Debian-like machine if we are root.
# What is started here, and nothing else, is stopped by scripts/clean.sh (.demo/dockerd.pid).
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
cd "$(dirname "$0")/.."

answers() {
    docker info >/dev/null 2>&1
}

answers && exit 0

if [ -n "${DOCKER_HOST:-}" ]; then
    echo "no container engine answers at DOCKER_HOST=$DOCKER_HOST — please correct or unset the variable" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "no container engine answers, and only root can start one — please start Docker, or let your user use it" >&2
    exit 1
fi
if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null || ! command -v iptables >/dev/null; then
    scripts/apt-install.sh docker.io iptables
    answers && exit 0 # where an init system runs, the package starts its service
fi
if ! command -v docker >/dev/null; then
    scripts/apt-install.sh docker-cli # newer releases of Debian split it off
    answers && exit 0
fi

mkdir -p .demo
echo "starting dockerd (log: .demo/dockerd.log)" >&2
setsid dockerd </dev/null >.demo/dockerd.log 2>&1 &
pid=$!
echo "$pid" >.demo/dockerd.pid
for _ in $(seq 120); do
    answers && exit 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.5
done
if kill "$pid" 2>/dev/null; then reason="did not answer within 60 s"; else reason="ended at once"; fi
rm -f .demo/dockerd.pid
tail -n 3 .demo/dockerd.log >&2
echo "dockerd $reason; its last lines are above, the rest is in .demo/dockerd.log" >&2
exit 1
