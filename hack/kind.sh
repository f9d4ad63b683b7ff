#!/usr/bin/env bash
# A throw-away Kubernetes of three nodes, containers of this machine's Docker, by
# kind. It has the verbs of cluster.sh, so that hack/e2e.sh can have either.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/.." && pwd)
PATH=$PATH:/usr/local/go/bin
name=stormcell
# The node image that the kind of hack/tools is released with.
node_image=kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5

usage() {
    cat <<'TXT'
usage: hack/kind.sh check              say what kind lacks here: Docker, the image of its nodes
       hack/kind.sh up DIR             start anew; DIR/admin.kubeconfig reaches it
       hack/kind.sh down DIR           delete it; Docker keeps the image and kind's network
       hack/kind.sh load DIR FILE...   give every node images, from archives
       hack/kind.sh tag DIR NAME NEW   give an image of every node a second name
TXT
}

kind() { "$(go -C "$here/tools" tool -n kind)" "$@"; }

# lacks WHAT COMMAND... tells, where COMMAND fails, what kind lacks, and with the
# last line that COMMAND printed why.
lacks() {
    local what=$1 said
    shift
    if ! said=$("$@" 2>&1); then
        echo "kind cannot run here, for it needs $what: ${said##*$'\n'}" >&2
        return 1
    fi
}

find_docker() { command -v docker || { echo "no program docker in PATH"; return 1; }; }
fetch_node() { docker image inspect "$node_image" >/dev/null 2>&1 || docker pull --quiet "$node_image"; }

check() {
    lacks "Docker" find_docker
    lacks "a Docker daemon that answers" docker version
    lacks "the image $node_image, which Docker can neither find nor pull" fetch_node
}

up() {
    check
    down
    mkdir -p "$dir"
    kind create cluster --name "$name" --image "$node_image" --config "$here/kind/cluster.yaml" --kubeconfig "$dir/admin.kubeconfig"
    "$repo/bin/k8s/kubectl" --kubeconfig "$dir/admin.kubeconfig" wait --for condition=Ready node --all --timeout 3m
}

# down deletes what "up" has begun; its directory shows that it has.
down() {
    [[ -d $dir ]] || return 0
    kind delete cluster --name "$name" --kubeconfig "$dir/admin.kubeconfig"
    rm -f "$dir"/admin.kubeconfig{,.lock}
    rmdir "$dir"
}

load() {
    local file
    for file; do
        kind load image-archive --name "$name" "$file"
    done
}

tag() {
    local nodes node
    nodes=$(kind get nodes --name "$name")
    for node in $nodes; do
        docker exec "$node" ctr --namespace k8s.io images tag --force "$1" "$2"
    done
}

main() {
    case ${1:-} in
    check)
        check
        return
        ;;
    up | down | load | tag)
        if [[ ${2:-} == /* ]]; then
            dir=$2
            "$1" "${@:3}"
            return
        fi
        ;;
    esac
    usage >&2
    return 2
}

main "$@"
