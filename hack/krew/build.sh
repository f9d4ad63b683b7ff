#!/usr/bin/env bash
# Builds the archives of kubectl-storm for a release, and the manifest for krew
# that names them, into DIR (bin/krew). The same sources give the same bytes.
# usage: hack/krew/build.sh [archives|manifest] [DIR]; without a word, both
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
version=$("$root/hack/version.sh")
platforms=(linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 windows-amd64 windows-arm64)
# shellcheck source=../licenses.sh
source "$root/hack/licenses.sh"

# archive PLATFORM DIR makes the archive of a platform.
archive() {
    local platform=$1 dir=$2 tree program=kubectl-storm
    export CGO_ENABLED=0 GOOS=${platform%-*} GOARCH=${platform#*-}
    [[ $GOOS != windows ]] || program+=.exe
    tree=$(mktemp -d)
    # shellcheck disable=SC2064 # now, since the variable is local
    trap "rm -rf '$tree'" EXIT
    go build -C "$root" -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=v$version" -o "$tree/$program" ./cmd/kubectl-storm
    cp "$root/LICENSE" "$tree/"
    go_licenses "$root" "$tree/licenses" ./cmd/kubectl-storm
    tar --create --directory "$tree" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=go=rX,u+w . |
        gzip --no-name --best >"$dir/kubectl-storm-$platform.tar.gz.new"
    mv "$dir/kubectl-storm-$platform.tar.gz"{.new,}
}

archives() {
    local platform
    for platform in "${platforms[@]}"; do
        (archive "$platform" "$1")
    done
}

# manifest DIR fills in the template for the archives in DIR.
manifest() {
    local dir=$1 platform sum edits=(-e "/^#/d" -e "s/@VERSION@/$version/")
    for platform in "${platforms[@]}"; do
        sum=$(sha256sum "$dir/kubectl-storm-$platform.tar.gz")
        edits+=(-e "s/@SHA256 $platform@/${sum%% *}/")
    done
    sed "${edits[@]}" "$root/hack/krew/storm.yaml" >"$dir/storm.yaml.new"
    mv "$dir/storm.yaml"{.new,}
}

main() {
    local what=${1:-all} dir=${2:-$root/bin/krew}
    mkdir -p "$dir"
    [[ $what == manifest ]] || archives "$dir"
    [[ $what == archives ]] || manifest "$dir"
    ls -l "$dir"
}

main "$@"
