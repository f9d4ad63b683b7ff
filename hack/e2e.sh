#!/usr/bin/env bash
# The suite of test/e2e on a real cluster: see usage.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/.." && pwd)
PATH=$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
# What Helm notes of its own.
export HELM_CACHE_HOME=$repo/.cache/helm HELM_CONFIG_HOME=$repo/.cache/helm HELM_DATA_HOME=$repo/.cache/helm
# What the suite's stormcell keeps on a node: test/e2e/testdata/config.yaml names it.
data=/var/lib/stormcell-e2e
cgroup=/stormcell-e2e
artifacts=${ARTIFACTS:-$repo/.cache/e2e-artifacts}
probe=ghcr.io/stormcell/e2e-probe:v0.1.0

usage() {
    cat <<'TEXT'
usage: hack/e2e.sh run [kind]
                           start a cluster with this machine as its node, or a kind cluster; install
                           stormcell by its chart, run the suite, uninstall; install it by its
                           manifests, run some of it, uninstall; take all down
       hack/e2e.sh probe   write bin/images/e2e-probe.tar, the image that the suite looks at nodes by
       hack/e2e.sh suite [GO TEST OPTIONS]...
                           run the suite on the cluster of KUBECONFIG, in which stormcell is
                           installed with test/e2e/testdata/values.yaml, and whose nodes have
                           the probe
environment:
       CLUSTER=DIR         where the cluster lives (/var/lib/stormcell-cluster; of kind only the
                           kubeconfig: /var/lib/stormcell-kind)
       KEEP=1              leave the cluster up, with stormcell in it
       ARTIFACTS=DIR       where logs, events and objects are kept when a test fails
                           (.cache/e2e-artifacts)
TEXT
}

# cluster VERB [ARGUMENTS]... makes and changes the cluster of "run".
cluster() { "$here/$maker.sh" "$1" "$dir" "${@:2}"; }
kubectl() { "$repo/bin/k8s/kubectl" --kubeconfig "$KUBECONFIG" "$@"; }

probe() {
    local work
    work=$(mktemp -d)
    CGO_ENABLED=0 go build -C "$repo" -trimpath -ldflags '-s -w' -o "$work/probe" ./test/e2e/probe
    "$here/cluster.sh" image "$repo/bin/images/e2e-probe.tar" "$probe" "$work/probe"
    rm -rf "$work"
}

# load gives the nodes all images; the agent's twice, for the upgrade.
load() {
    cluster load "$repo"/bin/images/{manager,node-agent,e2e-probe}.tar
    cluster tag "ghcr.io/stormcell/node-agent:$("$here/version.sh")" ghcr.io/stormcell/node-agent:next
}

await_daemons() {
    kubectl --namespace stormcell-system rollout status daemonset/stormcell-node-agent --timeout 2m
    kubectl --namespace stormcell-system rollout status deployment/stormcell-manager --timeout 2m
}

# build_helm prints the path of helm, which is built if need be.
build_helm() { go -C "$repo/hack/helm" tool -n helm; }

# with_chart installs stormcell as an admin does who has Helm.
with_chart() {
    local helm
    helm=$(build_helm)
    kubectl create namespace stormcell-system
    kubectl apply --filename "$repo/test/e2e/testdata/store.yaml"
    "$helm" install stormcell "$repo/charts/stormcell" --namespace stormcell-system \
        --values "$repo/test/e2e/testdata/values.yaml" --wait --timeout 3m
    await_daemons
    suite -v
    "$helm" uninstall stormcell --namespace stormcell-system --wait --timeout 2m
    kubectl delete --filename "$repo/test/e2e/testdata/store.yaml" --timeout 1m
    none_left
}

# with_manifests installs stormcell as an admin does who has kubectl: first as it
# is, when its daemons must be well though there is no such store, and then as
# the suite needs it, with the runc and conmon of the agent's image.
with_manifests() {
    kubectl apply --server-side --filename "$repo/dist/install.yaml"
    await_daemons
    kubectl apply --filename "$repo/test/e2e/testdata/store.yaml"
    kubectl apply --server-side --kustomize "$repo/test/e2e/testdata"
    kubectl --namespace stormcell-system rollout restart daemonset/stormcell-node-agent
    await_daemons
    suite -v -run 'TestWorkerRuns|TestAgentPodDeleted|TestUpgrade|TestDeleteLeavesNothing'
    kubectl delete --filename "$repo/dist/install.yaml" --timeout 2m
    none_left
}

suite() {
    PATH=$PATH:$repo/bin/k8s go test -C "$repo" -tags e2e -count 1 -timeout 20m "$@" ./test/e2e \
        -args -kubeconfig "$KUBECONFIG" -next-agent-image ghcr.io/stormcell/node-agent:next -artifacts "$artifacts"
}

# none_left tells whether the node is as it was but for caches.
none_left() {
    local left
    left=$(
        awk -v below="$data/" 'index($5, below) == 1 || index($5, "/run/stormcell/") == 1 { print $5 }' /proc/self/mountinfo
        grep -ls "^$data/" /sys/block/loop*/loop/backing_file
        find /sys/fs/cgroup -mindepth 3 -type d -path "*$cgroup/*" -print
        pgrep -f "conmon.*/run/stormcell/"
    ) || true
    if [[ -n $left ]]; then
        printf 'left of workers on this machine:\n%s\n' "$left" >&2
        return 1
    fi
}

remove_data() {
    none_left || return 1
    find /sys/fs/cgroup -depth -type d -path "*$cgroup" -exec rmdir {} +
    rm -rf --one-file-system "$data"
    # Nodes of kind had their own, and they are gone.
    [[ $maker == kind ]] || rm -rf --one-file-system /run/stormcell /opt/stormcell
}

finish() {
    local status=$?
    trap '' INT TERM HUP
    if [[ -n ${KEEP:-} ]]; then
        echo "the cluster is left up: export KUBECONFIG=$KUBECONFIG"
    else
        cluster down || status=1
        remove_data || status=1
    fi
    exit "$status"
}

# run SCRIPT [UP OPTIONS]... has its cluster from cluster.sh or kind.sh.
run() {
    local begun=$SECONDS
    maker=$1
    dir=${CLUSTER:-/var/lib/stormcell-$maker}
    if ((EUID != 0)); then
        echo "run it as root: this machine becomes a node, or keeps the image store of those of kind" >&2
        return 1
    fi
    probe
    export KUBECONFIG=$dir/admin.kubeconfig
    trap finish EXIT
    mkdir -p "$data/store"
    cluster up "${@:2}"
    load
    with_chart
    with_manifests
    echo "The suite passed, in $((SECONDS - begun)) s."
}

main() {
    case $* in
    run) run cluster node ;;
    'run kind') run kind ;;
    probe | suite | 'suite '*) "$@" ;;
    *)
        usage >&2
        return 2
        ;;
    esac
}

main "$@"
