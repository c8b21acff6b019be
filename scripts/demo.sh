#!/usr/bin/env bash
# From nothing to a running, attested example: environment, engine, base image, CAS, both applies, container.
# Everything lives in .demo/; running it again reuses what is there. `make clean` undoes it.
set -euo pipefail
cd "$(dirname "$0")/.."

container="sconectl-demo"
image="sconectl-demo/python_hello_user:1"
config_id=hello-user/pythonservice/python3
awaited="The checksum of the original API_PASSWORD is"
demo=$PWD/.demo
example=$PWD/examples/hello-user

mkdir -p "$demo"
export XDG_DATA_HOME=$demo/data

current="the beginning"
step() {
    current=$1
    printf '%4d s  %s\n' "$SECONDS" "$current"
}
say_where_it_stopped() {
    local code=$?
    if [ "$code" != 0 ]; then echo "make demo stopped at: $current" >&2; fi
}
trap say_where_it_stopped EXIT

# The address of the host as containers see it.
bridge_address() {
    local gateway
    gateway=$(docker network inspect bridge -f '{{(index .IPAM.Config 0).Gateway}}' 2>/dev/null) || true
    if [ -z "$gateway" ]; then # some engines only name the subnet; its first address is the bridge's
        gateway=$(docker network inspect bridge -f '{{(index .IPAM.Config 0).Subnet}}' |
            .venv/bin/python -I -c 'import ipaddress as i; print(i.ip_network(input().strip(), strict=False)[1])')
    fi
    echo "$gateway"
}

# The given port if nobody listens on it, else the first free one from 8081 on.
free_port() {
    .venv/bin/python -I - "$1" "$2" <<'PYTHON'
import socket
import sys

host, wish = sys.argv[1], int(sys.argv[2])
for port in (wish, *range(8081, 8181)):
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
        except OSError as error:
            reason = error
            continue
    print(port)
    break
else:
    sys.exit(f"no port from 8081 to 8180 can be used on {host}: {reason}")
PYTHON
}

# Whether our CAS is the one that listens at the address: it is asked by its directory, not only by its port.
cas_answers() {
    .venv/bin/sconectl cas status --dir "$demo/cas" >/dev/null 2>&1 &&
        (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null
}

step "Python environment"
scripts/venv.sh

step "container engine"
scripts/engine.sh

step "Python base image"
base=$(scripts/base-image.sh)
ca_bundle=$(scripts/ca-bundle.sh)
if [ -n "$ca_bundle" ]; then
    printf '[build]\nca_bundle = "%s"\n' "$ca_bundle" >"$demo/sconectl.toml"
else
    rm -f "$demo/sconectl.toml"
fi

address=$(cat "$demo/address" 2>/dev/null || true)
if [ -n "$address" ] && cas_answers "$address"; then
    step "CAS at $address (already running)"
else
    # A CAS keeps its port if it can: its address is part of what was applied.
    host=$(bridge_address)
    wish=${address##*:}
    port=$(free_port "$host" "${wish:-8081}")
    address=$host:$port
    step "CAS at $address"
    .venv/bin/sconectl cas serve --dir "$demo/cas" --listen "$address" --detach
    echo "$address" >"$demo/address"
fi

cd "$demo" # where sconectl.toml is
sconectl=../.venv/bin/sconectl

step "sconectl apply -f service.yaml"
"$sconectl" apply -f "$example/service.yaml" -n -t "$demo/target" --base-image "python=$base" \
    --cas "$address" --cas-config "$demo/cas-config"

step "sconectl apply -f mesh.yaml --release hello"
"$sconectl" apply -f "$example/mesh.yaml" --release hello -t "$demo/target" \
    --cas-config "$demo/cas-config" --set "CAS_URL=$address"

step "container $container"
docker rm --force "$container" >/dev/null 2>&1 || true
docker run --detach --name "$container" --env "SCONE_CONFIG_ID=$config_id" --env "SCONE_CAS_ADDR=$address" \
    "$image" >/dev/null

greeted=""
fault="did not greet within 60 s"
deadline=$((SECONDS + 60))
while [ -z "$greeted" ] && [ "$SECONDS" -lt "$deadline" ]; do
    running=$(docker inspect -f '{{.State.Running}}' "$container")
    docker logs "$container" >"$demo/container.log" 2>&1
    if grep -qF "$awaited" "$demo/container.log"; then
        greeted=yes
    elif [ "$running" = false ]; then
        fault="ended with exit code $(docker inspect -f '{{.State.ExitCode}}' "$container")"
        break
    else
        sleep 0.3
    fi
done
sed 's/^/        | /' "$demo/container.log"
if [ -z "$greeted" ]; then
    echo "the container $fault; everything it printed is above" >&2
    exit 1
fi

step "done"
cat <<EOT

The program has its password from the CAS at $address, which gave it to this unchanged program only.
CAS and container stay up; everything is in .demo/. Try:

  docker logs -f $container                 it goes on every ten seconds
  docker run --rm -e SCONE_CONFIG_ID=$config_id -e SCONE_CAS_ADDR=$address \\
      -e API_USER=evil $image sh -c 'echo pwned'
                                                still greets 'myself' (end it with ctrl-c)
  ls -R .demo/target                            policies and Helm chart
  make demo                                     again: nothing has changed, so it is quick
  make clean                                    stop and remove all of this

More to try: examples/hello-user/README.md
EOT
