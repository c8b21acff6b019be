#!/usr/bin/env bash
# From nothing to a running example: environment, engine, images, CAS, mesh. `make demo APP=NAME` calls it.
# Everything lives in .demo/NAME; running it again reuses what is there. `make clean` undoes it.
#
# Usage: scripts/demo-app.sh NAME     NAME is a directory of examples/ that has a mesh.yaml
set -euo pipefail
cd "$(dirname "$0")/.."

app=${1:-}
example=$PWD/examples/$app
if [[ ! "$app" =~ ^[a-z0-9-]+$ ]] || [ ! -f "$example/mesh.yaml" ]; then
    if [[ "$app" =~ ^[a-z0-9-]+$ ]] && [ -f "$example/README.md" ]; then
        echo "$app has no mesh.yaml that \`up\` could start; examples/$app/README.md has its commands." >&2
    else
        echo "no such demo: '$app'." >&2
    fi
    echo "There are: $(for mesh in examples/*/mesh.yaml; do basename "$(dirname "$mesh")"; done | xargs)" >&2
    exit 2
fi

scripts/venv.sh
scripts/engine.sh
scripts/test-images.sh # an attacker's tools, and a base image with a JDK
base=$(scripts/base-image.sh)
ca_bundle=$(scripts/ca-bundle.sh)

demo=$PWD/.demo/$app
mkdir -p "$demo"
export XDG_DATA_HOME=$PWD/.demo/data
{
    printf '[base_images]\npython = "%s"\ndebian = "%s"\n' "$base" "$base"
    if docker image inspect sconectl-base/jdk:slim-bookworm >/dev/null 2>&1; then
        printf 'java17 = "sconectl-base/jdk:slim-bookworm"\n'
    fi
    if [ -n "$ca_bundle" ]; then printf '[build]\nca_bundle = "%s"\n' "$ca_bundle"; fi
} >"$demo/sconectl.toml"

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

$(sed -n '/^## Try to break it/,$s/^- \*\*\([^*]*\)\*\*.*/  \1/p' "$example/README.md")
EOT
