#!/usr/bin/env bash
# A throw-away Kubernetes API: etcd and kube-apiserver on loopback, everything
# of it below one directory. There are no nodes but those that are created by
# hand. For the demo and for trying things; not for data that matters.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$here/.." && pwd)/bin/k8s
# shellcheck source=daemons.sh
source "$here/daemons.sh"

usage() {
    cat <<'TEXT'
usage: hack/cluster.sh up DIR                         start; DIR/admin.kubeconfig reaches it
       hack/cluster.sh down DIR                       stop
       hack/cluster.sh status DIR                     say what runs
       hack/cluster.sh kubeconfig DIR ACCOUNT [NODE]  write DIR/ACCOUNT.kubeconfig for a service
                                                      account of stormcell-system, on NODE
TEXT
}

kubectl() { "$bin/kubectl" --kubeconfig "$dir/admin.kubeconfig" "$@"; }

start_etcd() {
    # A unix socket, because whoever reaches etcd is the cluster's admin.
    daemon_start "$dir" etcd "$bin/etcd" --name default --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "unix://$dir/etcd.sock" --advertise-client-urls "unix://$dir/etcd.sock" \
        --listen-peer-urls "unix://$dir/peer.sock" --initial-advertise-peer-urls "unix://$dir/peer.sock" \
        --initial-cluster "default=unix://$dir/peer.sock"
}

start_apiserver() {
    daemon_start "$dir" kube-apiserver "$bin/kube-apiserver" --etcd-servers "unix://$dir/etcd.sock" \
        --bind-address 127.0.0.1 --secure-port "$1" --cert-dir "$dir/certs" --token-auth-file "$dir/tokens" \
        --service-account-issuer https://kubernetes.default.svc --service-cluster-ip-range 10.96.0.0/24 \
        --service-account-key-file "$dir/account.key" --service-account-signing-key-file "$dir/account.key" \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
        --endpoint-reconciler-type none --allow-privileged=true
}

# write_kubeconfig FILE USER TOKEN
write_kubeconfig() {
    cat >"$1.new" <<TEXT
apiVersion: v1
kind: Config
current-context: stormcell
contexts: [{name: stormcell, context: {cluster: stormcell, user: $2}}]
clusters: [{name: stormcell, cluster: {server: "https://127.0.0.1:$(<"$dir/port")", certificate-authority: $dir/certs/apiserver.crt}}]
users: [{name: $2, user: {token: "$3"}}]
TEXT
    mv "$1.new" "$1"
}

ready() { [[ $(kubectl get --raw /readyz 2>/dev/null) == ok ]]; }

# ready_or_dead ends the waiting early when a daemon has ended.
ready_or_dead() {
    ! daemon_pid "$dir" etcd >/dev/null || ! daemon_pid "$dir" kube-apiserver >/dev/null || ready
}

up() {
    local token
    if daemon_pid "$dir" kube-apiserver >/dev/null && ready; then
        return
    fi
    down
    mkdir -p "$dir"
    free_port >"$dir/port"
    token=$(openssl rand -hex 24)
    printf '%s,admin,admin,system:masters\n' "$token" >"$dir/tokens"
    openssl genrsa -out "$dir/account.key" 2048 2>/dev/null
    start_etcd
    start_apiserver "$(<"$dir/port")"
    write_kubeconfig "$dir/admin.kubeconfig" admin "$token"
    wait_for 60 ready_or_dead || true
    if ! ready; then
        tail -n 15 "$dir/etcd.log" "$dir/kube-apiserver.log" >&2
        echo "kube-apiserver is not ready; its log is $dir/kube-apiserver.log" >&2
        return 1
    fi
}

down() {
    daemon_stop "$dir" kube-apiserver
    daemon_stop "$dir" etcd
    rm -rf "$dir"/{etcd,certs,tokens,account.key,port,*.kubeconfig,*.log,*.sock}
}

status() {
    local name pid
    for name in etcd kube-apiserver; do
        pid=$(daemon_pid "$dir" "$name") && echo "$name runs, pid $pid" || echo "$name does not run"
    done
    ready && echo "the API server is ready: export KUBECONFIG=$dir/admin.kubeconfig"
}

# kubeconfig makes a token as kubelet makes one for a pod: with a NODE, the token
# carries the node's name, and is good only while that node exists.
kubeconfig() {
    local account=$1 bound=() token
    [[ -n ${2:-} ]] && bound=(--bound-object-kind Node --bound-object-name "$2")
    token=$(kubectl create token "$account" --namespace stormcell-system --duration 24h "${bound[@]}")
    write_kubeconfig "$dir/$account.kubeconfig" "$account" "$token"
}

main() {
    if (($# < 2)) || [[ $2 != /* ]]; then
        usage >&2
        return 2
    fi
    local verb=$1
    dir=$2
    shift 2
    umask 077
    case $verb in
    up | down | status | kubeconfig) "$verb" "$@" ;;
    *)
        usage >&2
        return 2
        ;;
    esac
}

main "$@"
