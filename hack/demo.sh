#!/usr/bin/env bash
# The whole way of a StormWorker on this machine, with real parts: see usage.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: hack/demo.sh run    show it and clean up
       hack/demo.sh down   take down what DEMO_KEEP=1 or a killed demo left
environment:
       RUNTIME=docker      run the worker in Docker, of an image in a registry, both of which are
                           started and taken down with the rest, instead of with runc (runc)
       STORE=hdfs          keep the images in an HDFS, which is started and taken down with the
                           rest, instead of in a directory (file)
       DEMO_KEEP=1         leave all up at the end
       DEMO_IMAGE=IMAGE    another image, that has bash: a name in a registry, oci:DIR[:TAG],
                           oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], or just FILE or DIR
       DEMO_DIR=DIR        where all of it lives (/var/lib/stormcell-demo)
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/.." && pwd)
PATH=$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
dir=${DEMO_DIR:-/var/lib/stormcell-demo}
# Names the directory of the demo that is up, and is the lock of the one that runs.
claimed=/run/stormcell-demo
cgroup=/stormcell-demo
user=stormdemo
image=stormcell/demo:latest
worker=clock
node=$(uname -n | tr '[:upper:]' '[:lower:]')
samples=$repo/config/samples
# shellcheck source=progress.sh
source "$here/progress.sh"
# shellcheck source=daemons.sh
source "$here/daemons.sh"
# shellcheck source=demo/leftovers.sh
source "$here/demo/leftovers.sh"
# shellcheck source=demo/config.sh
source "$here/demo/config.sh"
# shellcheck source=demo/store.sh
source "$here/demo/store.sh"
# shellcheck source=demo/runtime.sh
source "$here/demo/runtime.sh"

kubectl() { "$repo/bin/k8s/kubectl" --kubeconfig "$dir/cluster/admin.kubeconfig" "$@"; }
worker_field() { kubectl get stormworker "$worker" --output "jsonpath={.status.$1}"; }

# step TEXT COMMAND... runs COMMAND and says in a line how long it took. What
# COMMAND prints is shown only when it fails.
step() {
    local text=$1 begun=${EPOCHREALTIME/./} status word='done' output=$dir/step.log
    shift
    [[ -t 1 ]] && printf '  ...   %s\r' "$text"
    set +e
    (set -e && "$@") >"$output"
    status=$?
    set -e
    if ((status != 0)); then
        word=FAIL
        tail -n 15 "$output" >&2 || true
    fi
    [[ -t 1 ]] && printf '\033[K'
    printf '  %s  %-58s %8s s\n' "$word" "$text" "$(seconds $((${EPOCHREALTIME/./} - begun)))"
    return "$status"
}

seconds() { printf '%d.%02d' $(($1 / 1000000)) $(($1 / 10000 % 100)); }

show() { sed 's/^/        /'; }

# ---- preparation

check() {
    if ((EUID != 0)); then
        echo "the demo mounts file systems and runs containers: run it as root" >&2
        return 1
    fi
    check_store
    check_runtime
    if [[ ! $dir =~ ^/[A-Za-z0-9._/-]+$ ]]; then
        echo "DEMO_DIR=$dir: use an absolute path of letters, digits, '.', '_' and '-'" >&2
        return 1
    fi
}

# claim makes this the only demo of the machine, takes down what an earlier one
# left, and makes the demo's directory.
claim() {
    local old
    exec 9<>"$claimed"
    if ! flock --nonblock 9; then
        echo "another demo is running on this machine: wait for it" >&2
        return 1
    fi
    old=$(<"$claimed")
    take_down "$old"
    take_down "$dir"
    if [[ -n $(ls -A "$dir" 2>/dev/null) ]]; then
        echo "$dir is there and is not of a demo: set DEMO_DIR to another directory" >&2
        return 1
    fi
    printf '%s\n' "$dir" >"$claimed"
    mkdir -p "$dir"
    touch "$dir/.stormcell-demo"
}

# take_down removes the demo in a directory, which is one by its mark.
take_down() {
    [[ -n $1 && -e $1/.stormcell-demo ]] || return 0
    dir=$1 teardown
}

build() { make --no-print-directory -C "$repo" build; }

add_user() {
    id "$user" >/dev/null 2>&1 && return
    # The mark first: better a user to look for in vain than one that stays.
    touch "$dir/user-made"
    useradd --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --user-group "$user"
}

install_cluster() {
    kubectl apply --server-side --kustomize "$repo/config/base"
    kubectl wait --for=condition=Established --timeout="${patience}s" crd/stormimages.stormcell.dev crd/stormnodes.stormcell.dev crd/stormworkers.stormcell.dev
    node_object | kubectl apply --server-side --filename -
    kubectl taint node "$node" node.kubernetes.io/not-ready-
    kubectl patch node "$node" --subresource=status --type=merge --patch "$(node_status)"
    sed "s/9443/$first_port/" "$repo/config/connect/host.yaml" | kubectl apply --server-side --filename -
    "$here/cluster.sh" kubeconfig "$dir/cluster" stormcell-manager
    "$here/cluster.sh" kubeconfig "$dir/cluster" stormcell-node-agent "$node"
}

write_config() {
    write_storm_yaml
    write_launcher_cfg
}

# source_image prints the image in the words of docker-to-squash.
source_image() {
    local name=${DEMO_IMAGE:-$repo/.cache/demo-image}
    if [[ -d $name ]]; then
        echo "oci:$(realpath "$name")"
    elif [[ -f $name ]]; then
        if tar --list --file "$name" | grep -xE '(\./)?oci-layout' >/dev/null; then
            echo "oci-archive:$(realpath "$name")"
        else
            echo "docker-archive:$(realpath "$name")"
        fi
    else
        echo "$name"
    fi
}

convert() {
    "$repo/bin/docker-to-squash" --store "$(store_url)" --working-dir "$dir" --log WARN --bootstrap \
        pull-build-push-update "$(source_image),$image"
}

# ---- daemons

start_manager() {
    daemon_start "$dir" manager "$repo/bin/manager" --config "$dir/storm.yaml" --leader-elect=false \
        --kubeconfig "$dir/cluster/stormcell-manager.kubeconfig" --metrics-bind-address 0 --health-probe-bind-address 0 \
        --connect-bind-address "127.0.0.1:$first_port"
}

# start_agent starts the node-agent and waits until it has renewed its Lease,
# which it does when it is ready.
start_agent() {
    local since
    since=$(date -u +%FT%T.%6NZ)
    daemon_start "$dir" node-agent "$repo/bin/node-agent" --config "$dir/storm.yaml" --node-name "$node" \
        --launcher-config "$dir/worker-launcher.cfg" --kubeconfig "$dir/cluster/stormcell-node-agent.kubeconfig" \
        --metrics-bind-address 0
    await_ours agent_ready "$since"
}

# await_ours COMMAND... waits until COMMAND succeeds, as long as both daemons run.
await_ours() { await_daemons "$dir" "manager node-agent" "$@"; }

agent_ready() {
    local renewed
    renewed=$(kubectl get lease "node-$node" --namespace stormcell-system --output 'jsonpath={.spec.renewTime}' 2>/dev/null)
    [[ $renewed > $1 ]]
}

start_daemons() {
    start_manager
    start_agent
}

# ---- the worker

# apply_samples applies the samples. Docker needs no StormImage, and finds the
# image by another name; another image has no Clock: there, bash counts.
apply_samples() {
    local spec="\"image\": \"$image\""
    if [[ $runtime == runc && -z ${DEMO_IMAGE:-} ]]; then
        kubectl apply --filename "$samples"
        return
    fi
    [[ $runtime == docker ]] || kubectl apply --filename "$samples/stormimage.yaml"
    # shellcheck disable=SC2016 # bash in the worker expands this
    [[ -z ${DEMO_IMAGE:-} ]] || spec+=', "command": ["bash", "-c", "while :; do echo \"tick $((++n)) of bash\"; sleep 1; done"]'
    kubectl patch --local --filename "$samples/stormworker.yaml" --type=merge --output=yaml --patch "{\"spec\": {$spec}}" |
        kubectl apply --filename -
}

start_worker() {
    apply_samples
    await_ours worker_ready
}

worker_ready() { [[ $(worker_field 'conditions[?(@.type=="Ready")].status') == True ]]; }

# worker_log prints the last lines of the worker's log, as any user gets it: by the
# API server, the manager and the node-agent.
worker_log() {
    kubectl get --raw "/apis/connect.stormcell.dev/v1alpha1/namespaces/default/stormworkers/$worker/log?tailLines=$1"
}

# log_served keeps what it was answered: it is what the demo shows.
log_served() { worker_log 4 >"$dir/served-log" 2>&1; }

ticks() { log_text | grep -c 'tick ' || true; }
has_ticks() { (($(ticks) >= $1)); }
read_log() { await_ours has_ticks "$1"; }

show_worker() {
    if ! await_ours log_served; then
        cat "$dir/served-log" >&2
        return 1
    fi
    echo
    kubectl get stormworkers,stormimages --output wide | show
    echo
    echo "        events:"
    kubectl events --for "stormworker/$worker" | show
    echo
    echo "        log, by way of the API server:"
    show <"$dir/served-log"
    echo
}

# kill_agent kills the node-agent as hard as can be and starts another; the
# worker must not notice.
kill_agent() {
    local pid started before
    pid=$(worker_field pid)
    started=$(start_time "$pid")
    daemon_stop "$dir" node-agent KILL
    before=$(ticks)
    start_agent
    await_ours worker_ready
    read_log $((before + 1))
    if [[ $(worker_field pid) != "$pid" || $(start_time "$pid") != "$started" ]]; then
        echo "the worker was pid $pid and is now pid $(worker_field pid)" >&2
        return 1
    fi
    echo "$pid" >"$dir/same-pid"
}

delete_worker() { kubectl delete stormworker "$worker" --timeout="${patience}s"; }

show_leftovers() {
    local i before after
    mapfile -t before <"$dir/before"
    mapfile -t after < <(count_leftovers)
    printf '\n        %-14s %12s %14s\n' '' 'worker ran' 'worker deleted'
    for i in "${!kinds[@]}"; do
        printf '        %-14s %12d %14d\n' "${kinds[i]}" "${before[i]}" "${after[i]}"
    done
    echo
}

# ---- the end

# teardown removes all of the demo from this machine. A worker that is still
# there is deleted the way of a user first.
teardown() {
    if daemon_pid "$dir" node-agent >/dev/null && daemon_pid "$dir/cluster" kube-apiserver >/dev/null; then
        kubectl delete stormworkers --all --all-namespaces --timeout=30s || true
    fi
    daemon_stop "$dir" node-agent
    daemon_stop "$dir" manager
    "$here/cluster.sh" down "$dir/cluster"
    remove_runtime # it has mounts of its own
    sweep
    remove_store
    if [[ -e $dir/user-made ]] && id "$user" >/dev/null 2>&1; then
        userdel "$user"
    fi
    rm -rf --one-file-system "$dir"
    none_left
}

explain() {
    local log
    kubectl describe stormworkers 2>/dev/null | tail -n 40 || true
    for log in manager node-agent; do
        [[ -s $dir/$log.log ]] || continue
        printf '\nthe last lines of %s.log:\n' "$log"
        tail -n 15 "$dir/$log.log"
    done
}

how_to_use() {
    cat <<TEXT

  All is left up. To look around:
      export KUBECONFIG=$dir/cluster/admin.kubeconfig PATH=$repo/bin/k8s:\$PATH
      kubectl get sw,stormimg -o wide
      kubectl describe sw $worker
      kubectl get --raw '/apis/connect.stormcell.dev/v1alpha1/namespaces/default/stormworkers/$worker/log?follow=true'
      kubectl delete sw $worker
  The images are in $(store_url)$(store_client).
  The daemons' logs are $dir/manager.log and $dir/node-agent.log.
  To take it down: make demo-down

TEXT
}

# finish runs at every exit, also after Ctrl-C, which it does not listen to.
finish() {
    local status=$?
    trap '' INT TERM HUP
    # 128 and more is a signal: Ctrl-C needs no explanation.
    if ((status != 0 && status < 128)); then
        explain >&2 || true
    fi
    if [[ -n ${DEMO_KEEP:-} ]] && ((status == 0)); then
        how_to_use
    else
        step "Stop the daemons and the cluster, remove all" teardown
        rm -f "$claimed"
    fi
    exit "$status"
}

prepare() {
    step "Install missing packages" "$here/packages.sh"
    step "Build stormcell" build
    step "Build etcd, kube-apiserver and kubectl" "$here/kubernetes/build.sh"
    [[ -n ${DEMO_IMAGE:-} ]] || step "Build the demo's image: Debian, a JDK, a Java program" "$here/demo/image.sh"
    prepare_store
    prepare_runtime
    step "Start etcd and kube-apiserver on loopback" "$here/cluster.sh" up "$dir/cluster"
    step "Install CRDs, RBAC and node $node" install_cluster
    step "Make user $user" add_user
    step "Write storm.yaml and worker-launcher.cfg" write_config
}

run() {
    local begun=$SECONDS
    umask 022
    claim
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    echo "stormcell demo in $dir"
    # The manager's port is claimed here, not in a step, which is a shell of its own:
    # the lock must live until the manager has it.
    claim_ports
    prepare
    provide_image
    step "Start manager and node-agent" start_daemons
    step "Apply config/samples, wait until the worker runs" start_worker
    step "Wait for three lines of its log" read_log 3
    show_worker
    count_leftovers >"$dir/before"
    step "Kill the node-agent (SIGKILL) and start it again" kill_agent
    echo "        the worker did not notice: still pid $(<"$dir/same-pid")"
    if [[ -z ${DEMO_KEEP:-} ]]; then
        step "Delete the worker" delete_worker
        show_leftovers
        none_left
    fi
    echo "  The demo worked, in $((SECONDS - begun)) s."
}

down() {
    claim
    teardown
    rm -f "$claimed"
}

main() {
    case ${1:-} in
    run | down)
        check
        "$1"
        ;;
    *)
        usage >&2
        return 2
        ;;
    esac
}

main "$@"
