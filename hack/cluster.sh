#!/usr/bin/env bash
# A throw-away Kubernetes on this machine, everything of it below one directory:
# the API alone, or with this machine as a node. For the demo, for the suite in
# test/e2e and for trying things; not for data that matters.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/.." && pwd)
bin=$repo/bin/k8s
PATH=$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
# shellcheck source=daemons.sh
source "$here/daemons.sh"
# shellcheck source=cluster/image.sh
source "$here/cluster/image.sh"
# shellcheck source=cluster/node.sh
source "$here/cluster/node.sh"

usage() {
    cat <<'TEXT'
usage: hack/cluster.sh up DIR [node]                  start; DIR/admin.kubeconfig reaches it
       hack/cluster.sh down DIR                       stop, and remove all of it
       hack/cluster.sh status DIR                     say what runs
       hack/cluster.sh kubeconfig DIR ACCOUNT [NODE]  write DIR/ACCOUNT.kubeconfig for a service
                                                      account of stormcell-system, on NODE
       hack/cluster.sh load DIR FILE...               give the node images, from archives
       hack/cluster.sh tag DIR NAME NEW               give an image of the node a second name
       hack/cluster.sh image FILE NAME PROGRAM        write an archive: an image of one program
Alone, "up" starts etcd and kube-apiserver on loopback: there are no nodes but those that are
created by hand. With "node" it starts controller-manager, scheduler, containerd and kubelet, too,
and this machine runs pods; a machine can have one such cluster. It needs root.
TEXT
}

kubectl() { "$bin/kubectl" --kubeconfig "$dir/admin.kubeconfig" "$@"; }

# make_certificates ADDRESS makes an authority, and a certificate by which the API
# server is known to its clients there, and to kubelets as their master.
make_certificates() {
    local pki=$dir/pki
    mkdir "$pki"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=stormcell-cluster -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj /O=system:masters/CN=kube-apiserver -addext "subjectAltName=IP:$1,DNS:kubernetes.default.svc" \
        -keyout "$pki/apiserver.key" -out "$pki/apiserver.csr" 2>/dev/null
    openssl x509 -req -in "$pki/apiserver.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -copy_extensions copy \
        -days 30 -out "$pki/apiserver.crt" 2>/dev/null
    # By which those know the API server that it forwards requests to.
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=front-proxy -addext extendedKeyUsage=clientAuth \
        -keyout "$pki/front-proxy.key" -out "$pki/front-proxy.crt" 2>/dev/null
    openssl genrsa -out "$dir/account.key" 2048 2>/dev/null
}

# Every daemon that a cluster may have, in the order in which they end.
daemons=(kubelet kube-scheduler kube-controller-manager containerd kube-apiserver etcd)

start_etcd() {
    # A unix socket, because whoever reaches etcd is the cluster's admin.
    daemon_start "$dir" etcd "$bin/etcd" --name default --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "unix://$dir/etcd.sock" --advertise-client-urls "unix://$dir/etcd.sock" \
        --listen-peer-urls "unix://$dir/peer.sock" --initial-advertise-peer-urls "unix://$dir/peer.sock" \
        --initial-cluster "default=unix://$dir/peer.sock"
}

# start_apiserver ADDRESS PORT [OPTIONS]...
start_apiserver() {
    daemon_start "$dir" kube-apiserver "$bin/kube-apiserver" --etcd-servers "unix://$dir/etcd.sock" \
        --bind-address "$1" --secure-port "$2" --tls-cert-file "$dir/pki/apiserver.crt" --tls-private-key-file "$dir/pki/apiserver.key" \
        --token-auth-file "$dir/tokens" \
        --service-account-issuer https://kubernetes.default.svc --service-cluster-ip-range "$service_range" \
        --service-account-key-file "$dir/account.key" --service-account-signing-key-file "$dir/account.key" \
        --requestheader-client-ca-file "$dir/pki/front-proxy.crt" --requestheader-allowed-names front-proxy \
        --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
        --proxy-client-cert-file "$dir/pki/front-proxy.crt" --proxy-client-key-file "$dir/pki/front-proxy.key" \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
        --endpoint-reconciler-type none --allow-privileged=true "${@:3}"
}

# identify NAME USER [GROUPS] makes a user of the cluster and its kubeconfig,
# DIR/NAME.kubeconfig.
identify() {
    local token
    token=$(openssl rand -hex 24)
    printf '%s,%s,%s,"%s"\n' "$token" "$2" "$2" "${3:-}" >>"$dir/tokens"
    write_kubeconfig "$dir/$1.kubeconfig" "$2" "$token"
}

# write_kubeconfig FILE USER TOKEN
write_kubeconfig() {
    cat >"$1.new" <<TEXT
apiVersion: v1
kind: Config
current-context: stormcell
contexts: [{name: stormcell, context: {cluster: stormcell, user: $2}}]
clusters: [{name: stormcell, cluster: {server: "https://$(<"$dir/server")", certificate-authority: $dir/pki/ca.crt}}]
users: [{name: $2, user: {token: "$3"}}]
TEXT
    mv "$1.new" "$1"
}

ready() { [[ $(kubectl get --raw /readyz --request-timeout "${patience}s" 2>/dev/null) == ok ]]; }

# await_cluster COMMAND... waits until COMMAND succeeds, as long as the daemons run
# that have been started. Where it fails it shows the end of their logs.
await_cluster() {
    local name
    await_daemons "$dir" "${daemons[*]}" "$@" && return
    for name in "${daemons[@]}"; do
        [[ -s $dir/$name.log ]] || continue
        printf '\nthe last lines of %s:\n' "$dir/$name.log"
        tail -n 15 "$dir/$name.log"
    done >&2
    echo "the cluster in $dir is not ready" >&2
    return 1
}

# runs tells whether every daemon of a kind of cluster does, the API alone or with a node.
runs() {
    local name first=4
    [[ $1 != node ]] || first=0
    for name in "${daemons[@]:first}"; do
        daemon_pid "$dir" "$name" >/dev/null || return 1
    done
}

# ready_api and ready_node tell whether a kind of cluster can be used.
ready_api() { ready; }
ready_node() { ready && node_ready; }

up() {
    local kind=${1:-api}
    # One that has just been started is not ready yet.
    ! { runs "$kind" && await_cluster "ready_$kind"; } || return 0
    down
    mkdir -p "$dir"
    start_etcd
    "up_$kind"
}

up_api() {
    claim_ports
    echo "127.0.0.1:$first_port" >"$dir/server"
    make_certificates 127.0.0.1
    identify admin admin system:masters
    start_apiserver 127.0.0.1 "$first_port"
    await_cluster ready
}

up_node() {
    prepare_node
    make_certificates "$service_address"
    echo "$service_address" >"$dir/server"
    identify admin admin system:masters
    identify controller-manager system:kube-controller-manager
    identify scheduler system:kube-scheduler
    identify kubelet "system:node:$node_name" system:nodes
    # Without kube-proxy, the addresses of Services lead nowhere.
    start_apiserver "$service_address" 443 --enable-aggregator-routing \
        --kubelet-preferred-address-types InternalIP --kubelet-client-certificate "$dir/pki/apiserver.crt" --kubelet-client-key "$dir/pki/apiserver.key"
    await_cluster ready
    start_node
}

down() {
    local name
    for name in "${daemons[@]}"; do
        daemon_stop "$dir" "$name"
    done
    if [[ -e $dir/node ]]; then
        clear_node
    fi
    rm -rf --one-file-system "$dir"
}

status() {
    local name pid
    for name in "${daemons[@]}"; do
        if pid=$(daemon_pid "$dir" "$name"); then
            echo "$name runs, pid $pid"
        fi
    done
    if ! ready; then
        echo "no API server is ready in $dir"
        return 1
    fi
    echo "the API server is ready: export KUBECONFIG=$dir/admin.kubeconfig"
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
    up | down | status | kubeconfig | load | tag) "$verb" "$@" ;;
    image) program_image "$dir" "$@" ;;
    *)
        usage >&2
        return 2
        ;;
    esac
}

main "$@"
