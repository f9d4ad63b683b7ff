#!/usr/bin/env bash
# Docker and a registry on loopback, everything of them below one directory, for
# tests and the demo, and for benchmarks to compare with. The programs are Debian's packages, unpacked into
# bin/docker and not installed: installed ones would be services of this machine.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
programs=$(cd "$here/.." && pwd)/bin/docker
PATH=$programs/usr/sbin:$programs/usr/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
# The library that dockerd needs beyond what every Debian has is there too.
export LD_LIBRARY_PATH=$programs/lib/x86_64-linux-gnu:$programs/lib/aarch64-linux-gnu
# packages prints what is unpacked. pigz, which dockerd unpacks layers with where
# it finds it, is the faster way.
packages() { printf '%s\n' docker.io containerd docker-registry tini pigz libdevmapper1.02.1; }
# shellcheck source=daemons.sh
source "$here/daemons.sh"
# shellcheck source=debs.sh
source "$here/debs.sh"

usage() {
    cat <<'TEXT'
usage: hack/docker.sh up DIR     start; DIR/docker.sock is Docker's socket, DIR/registry.address
                                 the registry's address
       hack/docker.sh down DIR   stop, delete all images
       hack/docker.sh status DIR say what runs
       hack/docker.sh start DIR  start dockerd alone, once stop has ended it
       hack/docker.sh stop DIR   end dockerd alone; SIGNAL=KILL: by force
dockerd reads DIR/daemon.json, and the registry asks for the passwords of DIR/htpasswd, if they are there.
The client is bin/docker/usr/bin/docker -H unix://DIR/docker.sock. Containers have no network of
their own: use docker run --network host.
TEXT
}

start_registry() {
    local address
    claim_ports
    address=127.0.0.1:$first_port
    cat >"$dir/registry.yml" <<TEXT
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $dir/registry}
  cache: {blobdescriptor: inmemory}
http: {addr: "$address", secret: "$(openssl rand -hex 16)"}
TEXT
    [[ ! -e $dir/htpasswd ]] || printf 'auth: {htpasswd: {realm: test, path: %s}}\n' "$dir/htpasswd" >>"$dir/registry.yml"
    OTEL_TRACES_EXPORTER=none daemon_start "$dir" docker-registry docker-registry serve "$dir/registry.yml"
    printf '%s\n' "$address" >"$dir/registry.address"
}

# start_dockerd starts dockerd, which starts a containerd of its own. It leaves
# the machine's network alone.
start_dockerd() {
    # One that was killed leaves them, as does its containerd, and dockerd takes
    # zombies for processes that run.
    forget_gone "$dir"/{docker.pid,exec/containerd/containerd.pid}
    [[ -e $dir/daemon.json ]] || echo '{}' >"$dir/daemon.json"
    daemon_start "$dir" dockerd dockerd --host "unix://$dir/docker.sock" --group root --config-file "$dir/daemon.json" \
        --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" \
        --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "$cgroup" \
        --bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --log-level warn
}

forget_gone() {
    local file
    for file; do
        [[ ! -e $file ]] || ! wait_for "$patience" process_gone "$(<"$file")" || rm "$file"
    done
}

start() {
    start_dockerd
    await_docker dockerd_ready
}

stop() { daemon_stop "$dir" dockerd "${SIGNAL:-TERM}"; }

# A late answer is an answer, on a busy machine.
answers() { curl --silent --max-time "$patience" --output /dev/null "$@"; }

# registry_ready: one that asks for passwords answers by asking.
registry_ready() {
    local status
    status=$(answers --write-out '%{http_code}' "http://$(<"$dir/registry.address")/v2/") && [[ $status == 200 || $status == 401 ]]
}

dockerd_ready() { [[ $(answers --write-out '%{http_code}' --unix-socket "$dir/docker.sock" http://docker/_ping) == 200 ]]; }

ready() { registry_ready && dockerd_ready; }

# await_docker COMMAND... waits until COMMAND succeeds, as long as both daemons run.
await_docker() {
    local log
    await_daemons "$dir" "dockerd docker-registry" "$@" && return
    for log in "$dir"/{dockerd,docker-registry}.log; do
        [[ ! -s $log ]] || tail -n 15 "$log" >&2
    done
    echo "Docker in $dir is not ready" >&2
    return 1
}

up() {
    if daemon_pid "$dir" dockerd >/dev/null && daemon_pid "$dir" docker-registry >/dev/null && await_docker ready; then
        return
    fi
    unpack_debs "$programs" packages
    down
    umask 077
    mkdir -p "$dir"
    start_registry
    start_dockerd
    await_docker ready
}

mounts() { awk -v below="$dir/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo; }

# processes prints what dockerd leaves when it is killed: its containerd, shims.
processes() { pgrep -f "(containerd|containerd-shim[a-z0-9-]*) .*$dir/exec/" || true; }

no_processes() { [[ -z $(processes) ]]; }

down() {
    local pid path
    daemon_stop "$dir" dockerd
    daemon_stop "$dir" docker-registry
    for pid in $(processes); do
        kill -s KILL "$pid" 2>/dev/null || true
    done
    wait_for "$patience" no_processes
    while read -r path; do
        umount --lazy "$path"
    done < <(mounts | tac)
    for path in /sys/fs/cgroup/*"$cgroup" "/sys/fs/cgroup$cgroup"; do
        [[ ! -d $path ]] || rmdir "$path"
    done
    rm -rf --one-file-system "$dir"/{data,exec,registry,registry.yml,registry.address,docker.sock,docker.pid,daemon.json,dockerd.log,docker-registry.log}
}

status() {
    local name pid
    for name in dockerd docker-registry; do
        pid=$(daemon_pid "$dir" "$name") && echo "$name runs, pid $pid" || echo "$name does not run"
    done
    ready && echo "Docker is ready: $programs/usr/bin/docker -H unix://$dir/docker.sock"
}

main() {
    # The directory's name becomes that of a cgroup.
    if (($# != 2)) || [[ ! $2 =~ ^/[A-Za-z0-9._/-]*[A-Za-z0-9_-]$ ]]; then
        usage >&2
        return 2
    fi
    dir=$2
    cgroup=/docker-${dir##*/}
    case $1 in
    up | down | status | start | stop) "$1" ;;
    *)
        usage >&2
        return 2
        ;;
    esac
}

main "$@"
