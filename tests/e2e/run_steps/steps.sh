#!/usr/bin/env bash
# The steps that scripts of applications for SCONE take, one after the other, from templates to running pods.
#
#   steps.sh -i IMAGE_REPO -n NAMESPACE -r RELEASE [-v] [-d] [--cas CAS] [--cas-namespace NAMESPACE] [--rolling] [--template DIR]
#
# Environment: VERSION, CAS_VERSION, SCONECTL_REPO, UPLOAD_MODE and whatever else the templates name; APP_SERVICES, the
# templates of the services, and APP_PODS, the services whose pods are waited for. What is drawn the first time is kept
# in release.sh.
set -euo pipefail

namespace=default repo=${APP_IMAGE_REPO:-} release="" cas=${CAS:-cas} cas_namespace=${CAS_NAMESPACE:-scone-system}
verbose=() debug=() template=() rolling=""
while [ $# -gt 0 ]; do
    case $1 in
    -n | --namespace) namespace=$2 && shift 2 ;;
    -i | --image_repo | --image-repo) repo=$2 && shift 2 ;;
    -r | --release) release=$2 && shift 2 ;;
    -v) verbose=(-vvvvvvvv) && shift ;;
    -d | --debug) debug=(--mode=debug) && shift ;;
    --cas) cas=$2 && shift 2 ;;
    --cas-namespace) cas_namespace=$2 && shift 2 ;;
    --rolling) rolling=yes && shift ;;
    --template) template=(--helm-template "$2") && shift 2 ;;
    *) echo "unknown option $1" >&2 && exit 2 ;;
    esac
done

echo "== prerequisites"
sconectl --help >/dev/null
sconectl --version
docker info >/dev/null
helm version --short
kubectl version --client
envsubst --version | head -n 1
mkdir -p "$HOME/.scone" && chmod 0777 "$HOME/.scone"
kubectl get pods -n "$namespace" >/dev/null
for component in las sgxplugin; do
    [ "$(kubectl get "$component" "$component" -o 'jsonpath={.status.state}')" = HEALTHY ]
done
[ "$(kubectl get cas "$cas" -n "$cas_namespace" -o 'jsonpath={.status.state}')" = HEALTHY ]
kubectl provision cas "$cas" -n "$cas_namespace" --is-provisioned

echo "== release"
export VERSION CAS_VERSION=${CAS_VERSION:-$VERSION} SCONECTL_REPO UPLOAD_MODE=${UPLOAD_MODE:-EncryptedManifest}
export APP_IMAGE_REPO=$repo RELEASE=$release SCONE="\$SCONE"
RELEASE_VERSION=0 APP_NAMESPACE="$RELEASE-$RANDOM-$RANDOM"
# shellcheck disable=SC1091 # written below
[ ! -e release.sh ] || . ./release.sh
RELEASE_VERSION=$((RELEASE_VERSION + 1))
export APP_NAMESPACE RELEASE_VERSION
printf 'export APP_NAMESPACE=%q RELEASE=%q RELEASE_VERSION=%q\n' "$APP_NAMESPACE" "$RELEASE" "$RELEASE_VERSION" >release.sh

echo "== services"
for service in $APP_SERVICES; do
    envsubst <"$service" >"${service%.template}"
    sconectl apply -f "${service%.template}" "${verbose[@]}" "${debug[@]}" "${template[@]}" --set-version "$VERSION"
done

echo "== keys of the CAS"
# shellcheck disable=SC1090 # what the command prints
. <(kubectl provision cas "$cas" -n "$cas_namespace" --print-public-keys)
export CAS_KEY CAS_SESSION_ENCRYPTION_KEY CAS_URL="$cas.$cas_namespace"

echo "== mesh"
envsubst <mesh.yaml.template >mesh.yaml
sconectl apply -f mesh.yaml --release "$RELEASE" "${verbose[@]}" "${debug[@]}" --set-version "$VERSION" \
    ${rolling:+--release-version "$RELEASE_VERSION"}

echo "== release of the chart"
if [ -n "$rolling" ]; then
    helm upgrade --install "$RELEASE" target/helm -n "$namespace"
else
    helm uninstall "$RELEASE" -n "$namespace" 2>/dev/null || true
    helm install "$RELEASE" target/helm -n "$namespace"
fi

echo "== pods"
for pod in $APP_PODS; do
    labels="app.kubernetes.io/name=$pod,app.kubernetes.io/instance=$RELEASE"
    phases=$(kubectl get pods -n "$namespace" -l "$labels" -o 'jsonpath={.items[*].status.phase}')
    [ "$phases" = Running ]
done
echo "== done"
