#!/usr/bin/env bash
# Generates client/, the typed client of api/v1alpha1 that programs outside of
# stormcell use, from api/v1alpha1 and its CRDs, with the generators that
# hack/tools pins.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
module=github.com/stormcell/stormcell
api=$module/api/v1alpha1

# generate TOOL FOLDER ARGUMENT... runs a generator into client/FOLDER.
generate() {
    local tool=$1 folder=$2
    shift 2
    "$(go -C hack/tools tool -n "$tool")" --go-header-file hack/boilerplate.go.txt \
        --output-dir "client/$folder" --output-pkg "$module/client/$folder" "$@"
}

# The schemas of the objects tell apply configurations how lists are merged.
schema=$(mktemp)
trap 'rm -f "$schema"' EXIT
"$(go -C hack/tools tool -n openapi)" "$api" config/crd/bases/*.yaml >"$schema"

# Else files of types that are no more would stay.
rm -rf client/{applyconfiguration,clientset,informers,listers}
generate applyconfiguration-gen applyconfiguration --openapi-schema "$schema" "$api"
generate client-gen clientset --clientset-name versioned --input-base "$module" --input api/v1alpha1 \
    --apply-configuration-package "$module/client/applyconfiguration"
generate lister-gen listers "$api"
generate informer-gen informers "$api" \
    --versioned-clientset-package "$module/client/clientset/versioned" --listers-package "$module/client/listers"
