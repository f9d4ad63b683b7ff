#!/usr/bin/env bash
# Builds the images of the daemons, for amd64 and arm64, as OCI archives
# bin/images/manager.tar and bin/images/node-agent.tar, without Docker and
# without a registry. Their tag is the appVersion of the chart.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$root/bin/images
# shellcheck source=../licenses.sh
source "$root/hack/licenses.sh"

# build_daemon ARCHITECTURE NAME VERSION TREE builds a daemon into a tree, with
# the licences of all that is in it.
build_daemon() {
    local name=$2 version=$3 tree=$4
    export CGO_ENABLED=0 GOOS=linux GOARCH=$1
    go build -C "$root" -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$version" -o "$tree/$name" "./cmd/$name"
    go_licenses "$root" "$tree/licenses" "./cmd/$name"
}

main() {
    local version arch name
    version=$("$root/hack/version.sh")
    "$root/hack/host-programs/build.sh"
    mkdir -p "$out"
    exec 8<"$out"
    flock 8
    rm -rf "$out"/{amd64,arm64}
    for arch in amd64 arm64; do
        for name in manager node-agent; do
            (build_daemon "$arch" "$name" "$version" "$out/$arch/$name")
        done
        cp -r "$root/bin/host-programs/$arch" "$out/$arch/host-programs"
    done
    go run -C "$root" ./hack/images -dir "$out" -version "$version"
    rm -rf "$out"/{amd64,arm64}
    ls -l "$out"/*.tar
}

main "$@"
