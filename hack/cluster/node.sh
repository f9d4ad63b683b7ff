# shellcheck shell=bash
# The node of a throw-away cluster: this machine, with a containerd and a kubelet
# of the cluster's own, for cluster.sh to source. All of it lies below the
# cluster's directory, in cgroups of its own, and has addresses that nobody else
# reaches. It reads the variables dir, repo and bin.
# shellcheck disable=SC2154,SC2034

# Addresses for benchmarks (RFC 2544), which no network has. The node's is on
# lo. The API server listens at the address of its own service, the first one of
# the services' range; so pods reach it there, and no kube-proxy is needed.
node_address=198.18.0.1
service_range=198.18.1.0/24
service_address=198.18.1.1
pod_range=198.18.2.0/24

node_name=$(uname -n | tr '[:upper:]' '[:lower:]')
node_cgroup=/stormcell-cluster
pause_image=stormcell.dev/pause:1
# Names of sockets, which may have 107 characters, are short so.
containerd_socket() { printf '%s/containerd.sock' "$dir"; }

# prepare_node changes what is the machine's; clear_node undoes it. DIR/node has
# what was there before.
prepare_node() {
    local address hierarchy place
    mkdir "$dir/node"
    # kubelet, containerd and runc have fixed places for some things.
    for place in /var/lib/kubelet /var/log/containers /run/containerd; do
        [[ -e $place ]] || echo "$place" >>"$dir/node/made"
    done
    sysctl -n net.ipv4.ip_forward >"$dir/node/ip_forward"
    for address in "$node_address" "$service_address"; do
        ip address replace "$address/32" dev lo
    done
    for hierarchy in $(cgroup_hierarchies); do
        mkdir -p "$hierarchy$node_cgroup"
    done
}

cgroup_hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }

# ---- the programs

start_controllers() {
    daemon_start "$dir" kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$dir/controller-manager.kubeconfig" \
        --service-account-private-key-file "$dir/account.key" --root-ca-file "$dir/pki/ca.crt" \
        --use-service-account-credentials --leader-elect=false --bind-address 127.0.0.1 --secure-port 0 \
        --cluster-signing-cert-file "$dir/pki/ca.crt" --cluster-signing-key-file "$dir/pki/ca.key"
    daemon_start "$dir" kube-scheduler "$bin/kube-scheduler" --kubeconfig "$dir/scheduler.kubeconfig" \
        --leader-elect=false --bind-address 127.0.0.1 --secure-port 0
}

write_containerd_config() {
    mkdir -p "$dir/cni"
    cat >"$dir/containerd.toml" <<TEXT
version = 2
root = "$dir/containerd"
state = "$dir/containerd-state"
[grpc]
  address = "$(containerd_socket)"
[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause_image"
  # Root may lack CAP_SYS_RESOURCE, as in a container.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "$dir/runc"
TEXT
    cat >"$dir/cni/10-ptp.conflist" <<TEXT
{"cniVersion": "1.0.0", "name": "stormcell-cluster", "plugins": [{"type": "ptp", "ipam": {
  "type": "host-local", "dataDir": "$dir/ipam", "ranges": [[{"subnet": "$pod_range"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
TEXT
}

start_containerd() {
    write_containerd_config
    daemon_start "$dir" containerd containerd --config "$dir/containerd.toml"
    await_cluster ctr_here version
    CGO_ENABLED=0 go build -C "$repo" -trimpath -ldflags '-s -w' -o "$dir/pause" ./hack/cluster
    program_image "$dir/pause.tar" "$pause_image" "$dir/pause"
    load "$dir/pause.tar"
}

ctr_here() { ctr --address "$(containerd_socket)" --namespace k8s.io "$@" >/dev/null 2>&1; }

start_kubelet() {
    cat >"$dir/kubelet.yaml" <<TEXT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_address
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: $node_cgroup
containerRuntimeEndpoint: unix://$(containerd_socket)
failCgroupV1: false
failSwapOn: false
healthzPort: 0
readOnlyPort: 0
makeIPTablesUtilChains: false
podLogsDir: $dir/pod-logs
volumePluginDir: $dir/volume-plugins
# The machine's disk is not this cluster's to look after.
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
TEXT
    daemon_start "$dir" kubelet "$bin/kubelet" --config "$dir/kubelet.yaml" --kubeconfig "$dir/kubelet.kubeconfig" \
        --root-dir "$dir/kubelet" --cert-dir "$dir/kubelet-pki" --hostname-override "$node_name" --node-ip "$node_address"
}

node_ready() { [[ $(kubectl get node "$node_name" --output 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]]; }

account_made() { kubectl get serviceaccount default >/dev/null 2>&1; }

start_node() {
    # What they make is seen by the users of pods; nobody else gets into dir.
    umask 022
    start_controllers
    start_containerd
    start_kubelet
    await_cluster node_ready
    # Pods are refused until the controllers have made it.
    await_cluster account_made
}

# load FILE... imports images, of which only this machine's platform is needed.
load() {
    local file
    for file; do
        ctr --address "$(containerd_socket)" --namespace k8s.io images import "$file"
    done
}

# tag NAME NEW gives an image a second name.
tag() { ctr --address "$(containerd_socket)" --namespace k8s.io images tag --force "$1" "$2"; }

# ---- the end, whatever of it there is

# clear_node removes what the node's daemons, which have ended, leave.
clear_node() {
    end_pods
    end_shims
    unmount_all
    remove_traces
    # The kernel takes routes and cgroups of processes that have ended away by and by.
    if ! wait_for "$patience" node_cleared; then
        printf 'left of the node:\n%s\n' "$(node_left)" >&2
        return 1
    fi
}

pod_processes() { find /sys/fs/cgroup -path "*$node_cgroup/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un; }
shims() { pgrep -f "containerd-shim.*$(containerd_socket)" || true; }
no_pod_processes() { [[ -z $(pod_processes) ]]; }
no_shims() { [[ -z $(shims) ]]; }

end_pods() {
    local pids
    mapfile -t pids < <(pod_processes)
    ((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2>/dev/null || true
    wait_for "$patience" no_pod_processes
}

end_shims() {
    local pids socket
    mapfile -t pids < <(shims)
    ((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2>/dev/null || true
    wait_for "$patience" no_shims
    # A shim's socket has a fixed place, which it notes.
    while read -r socket; do
        rm -f "${socket#unix://}"
    done < <(find "$dir/containerd-state" -name address -exec awk 1 {} + 2>/dev/null)
}

cluster_mounts() { awk -v below="$dir/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo; }

unmount_all() {
    local mount
    while read -r mount; do
        umount "$(printf '%b' "$mount")"
    done < <(cluster_mounts | tac)
}

node_cgroups() { find /sys/fs/cgroup -depth -type d -path "*$node_cgroup*" -print 2>/dev/null; }

remove_cgroups() {
    local group
    while read -r group; do
        rmdir "$group" 2>/dev/null || true
    done < <(node_cgroups)
}

remove_traces() {
    local address place
    for address in "$node_address" "$service_address"; do
        ip address del "$address/32" dev lo 2>/dev/null || true
    done
    [[ ! -s $dir/node/ip_forward ]] || sysctl -qw "net.ipv4.ip_forward=$(<"$dir/node/ip_forward")"
    [[ ! -d /var/log/containers ]] || find /var/log/containers -type l -lname "$dir/*" -delete
    [[ -e $dir/node/made ]] || return 0
    while read -r place; do
        rm -rf --one-file-system "$place"
    done <"$dir/node/made"
}

# node_cleared removes the cgroups and tells whether nothing is left.
node_cleared() {
    remove_cgroups
    [[ -z $(node_left) ]]
}

# node_left prints what is left.
node_left() {
    pod_processes
    shims
    cluster_mounts
    node_cgroups
    ip -oneline address show dev lo | grep -E " ($node_address|$service_address)/" || true
    ip route | grep -F "${pod_range%.*}." || true
}
