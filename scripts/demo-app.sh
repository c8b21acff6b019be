#!/usr/bin/env bash
# From nothing to a running example: environment, engine, images, CAS, mesh. `make demo APP=NAME` calls it.
# Everything lives in .demo/NAME; running it again reuses what is there. `make clean` undoes it.
#
# Usage: scripts/demo-app.sh NAME     NAME is a directory of examples/. Its mesh.yaml is started; where there is none, the
#                                     commands of its README.md are run, up to those that attack it
set -euo pipefail
cd "$(dirname "$0")/.."

app=${1:-}
example=$PWD/examples/$app
if [[ ! "$app" =~ ^[a-z0-9-]+$ ]] || [ ! -f "$example/README.md" ]; then
    echo "no such demo: '$app'." >&2
    echo "There are: $(for readme in examples/*/README.md; do basename "$(dirname "$readme")"; done | xargs)" >&2
    exit 2
fi

scripts/venv.sh
scripts/engine.sh
scripts/test-tools.sh  # what the READMEs type beside sconectl: docker-compose, curl, jq
scripts/test-images.sh # an attacker's tools, and a base image with a JDK
base=$(scripts/base-image.sh)
ca_bundle=$(scripts/ca-bundle.sh)

demo=$PWD/.demo/$app
configuration() {
    printf '[base_images]\npython = "%s"\ndebian = "%s"\n' "$base" "$base"
    if docker image inspect sconectl-base/jdk:slim-bookworm >/dev/null 2>&1; then
        printf 'java17 = "sconectl-base/jdk:slim-bookworm"\n'
    fi
    if [ -n "$ca_bundle" ]; then printf '[build]\nca_bundle = "%s"\n' "$ca_bundle"; fi
}

# Writes what a README types before "Try to break it" to `commands`, and its last block, which undoes that, to `clean-up`.
# Commands whose output the README does not show have to succeed. `shell` gets the functions and variables that they made,
# and no variable of whoever runs this, which may be a secret.
take_commands() {
    awk '
        BEGIN { print ". \"${0%/*}/shell\"; before=$(export -p)" >"commands" }
        on && /^ *```$/ { on = 0; ended = 1; next }
        on { block = block $0 "\n"; next }
        ended { put(); ended = 0 }
        /^## Try to break it/ { attacks = 1 }
        /^ *```sh$/ { on = 1; block = "" }
        END {
            print "code=$?; { export -p | grep -vxF \"$before\"; declare -f; } >>\"${0%/*}/shell\"; exit $code" >"commands"
            printf ". \"${0%%/*}/shell\"\n%s", block >"clean-up"
        }
        function put() {
            if (attacks) return
            printf "%s", block >"commands"
            if ($0 !~ /^ *```$/) print "code=$?; [ $code = 0 ] || exit $code" >"commands"
        }
    ' README.md
}

attacks() {
    sed -n '/^## Try to break it/,$s/^- \*\*\([^*]*\)\*\*.*/  \1/p' "$example/README.md"
}

if [ ! -f "$example/mesh.yaml" ]; then
    if [ -e "$demo/shell" ]; then bash "$demo/clean-up" >/dev/null 2>&1 || true; fi
    rm -rf "$demo" && mkdir -p .demo
    cp -R "$example" "$demo"
    configuration >"$demo/sconectl.toml"
    (cd "$demo" && take_commands)
    cat >"$demo/shell" <<EOT
cd $(printf %q "$demo")
export PATH=$(printf %q "$PWD/.venv/bin"):\$PATH BASE_IMAGE=$(printf %q "$base") XDG_CACHE_HOME=\${XDG_CACHE_HOME:-\$HOME/.cache}
export DOCKER_CONFIG=\${DOCKER_CONFIG:-\$HOME/.docker} HOME=$(printf %q "$demo/home")
unset XDG_DATA_HOME XDG_STATE_HOME
EOT
    bash "$demo/commands"
    cat <<EOT

$app: the commands of examples/$app/README.md have been run, up to "Try to break it", in .demo/$app. Go on with them there:

  bash --rcfile .demo/$app/shell      a shell with the variables and functions of the README
  bash .demo/$app/clean-up            the end of it

$(attacks)
EOT
    exit
fi

mkdir -p "$demo"
configuration >"$demo/sconectl.toml"
export XDG_DATA_HOME=$PWD/.demo/data
cd "$demo" # where sconectl.toml is
sconectl=../../.venv/bin/sconectl
"$sconectl" up -f "$example/mesh.yaml" --release demo -t "$demo/target" --cas-config ../cas-config --set CAS_URL=local

cas=$("$sconectl" cas status | sed -n 's/^running at \([^ ]*\).*/\1/p')
cat <<EOT

$app runs, attested by the CAS at $cas. It stays up; everything is in .demo/$app. Try:

  export XDG_DATA_HOME=\$PWD/.demo/data             where this demo keeps its CAS
  .venv/bin/sconectl ps                             its services, and where they listen
  .venv/bin/sconectl logs -f                        what they say
  .venv/bin/sconectl down --release demo --volumes --cas-config .demo/cas-config    the end of it

and what examples/$app/README.md says under "Try to break it", with $cas for the CAS:

$(attacks)
EOT
