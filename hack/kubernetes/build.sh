#!/usr/bin/env bash
# Builds kube-apiserver and the rest of a cluster from source into bin/k8s, in the
# versions that go.mod beside this script pins. Tests (KUBEBUILDER_ASSETS) and
# the demo run them. It does nothing when they are there already.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/bin/k8s
# shellcheck source=../progress.sh
source "$here/../progress.sh"
# shellcheck source=../once.sh
source "$here/../once.sh"

# Without CGO, so that the programs run on any Linux.
export CGO_ENABLED=0
programs=(k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubectl,kubelet} go.etcd.io/etcd/server/v3)

# version_flags sets what a release build of Kubernetes sets: kubectl and the
# API server refuse to parse the version that they have otherwise.
version_flags() {
    local version=$1 minor flags="-s -w" package
    minor=${version#v*.}
    minor=${minor%%.*}
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
    done
    printf '%s' "$flags"
}

# stamp names what a build depends on, so that a change of it builds again.
stamp() {
    cat "$here/go.mod" "$here/go.sum" "${BASH_SOURCE[0]}" <(go env GOOS GOARCH) | sha256sum | cut -d' ' -f1
}

build() {
    local parts=$1 version packages
    version=$(go list -C "$here" -m -f '{{.Version}}' k8s.io/kubernetes)
    # What is not in Go's build cache yet; the programs themselves are never in it.
    packages=$(go list -C "$here" -deps -trimpath -f '{{if .Stale}}{{.ImportPath}}{{end}}' "${programs[@]}" | wc -l)
    if ((packages > 100)); then
        echo "Kubernetes $version is built from source, once: $packages packages, about 6 minutes on 2 cores." >&2
    fi
    logged "$parts/log" "packages of Kubernetes built" "$packages" \
        go build -C "$here" -v -trimpath -ldflags "$(version_flags "$version")" -o "$parts/" "${programs[@]}"
    # etcd's main package is called server.
    mv "$parts/server" "$parts/etcd"
    rm "$parts/log"
}

once "$out" "$(stamp)" build
