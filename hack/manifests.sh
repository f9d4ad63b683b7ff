#!/usr/bin/env bash
# Writes the manifests that are made of config/: dist/install.yaml, and what the
# chart takes over. The argument is kubectl.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
kubectl=$1
mkdir -p dist charts/stormcell/files
version=$(hack/version.sh)

if (($(grep -c ":$version\$" config/manager/manager.yaml) + $(grep -c ":$version\$" config/node-agent/node_agent.yaml) != 2)); then
    echo "config/manager and config/node-agent must have images of $version, as charts/stormcell/Chart.yaml says" >&2
    exit 1
fi
"$kubectl" kustomize config/default >dist/install.yaml
"$kubectl" kustomize config/chart >charts/stormcell/files/access.yaml
# Workers would go with their definition.
"$kubectl" kustomize config/crd | sed 's|^  annotations:$|&\n    helm.sh/resource-policy: keep|' >charts/stormcell/files/crds.yaml
