# shellcheck shell=bash
# What workers of the demo have on this machine, counted from the kernel and the
# disk, and its removal by force, for demo.sh to source. It reads the variables
# dir (the demo's directory), cgroup (its cgroup) and user (its worker's user).
# shellcheck disable=SC2154

# Mounts, but for those that a Docker has for itself.
mounts() {
    awk -v below="$dir/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo |
        grep -vxF -e "$dir/docker/data" -e "$dir/docker/exec/netns/default" || true
}

# Loop devices; a file that was deleted still shows its name.
loops() { grep -ls "^$dir/" /sys/block/loop*/loop/backing_file || true; }

# Directories of cgroups, deepest first, in every hierarchy of cgroup v1 or in
# the one of v2.
cgroups() { find /sys/fs/cgroup -depth -type d -path "*$cgroup/*" -printf '%p\n' 2>/dev/null || true; }

# Processes in the demo's cgroups, of its user, and monitors of its containers.
processes() {
    {
        find /sys/fs/cgroup -path "*$cgroup/*" -name cgroup.procs -exec cat {} + 2>/dev/null || true
        pgrep -u "$user" 2>/dev/null || true
        pgrep -f "conmon.*$dir/" || true
    } | sort -un
}

# What lies on disk for single workers: records, mount points, the directories
# and files that workers write, their logs.
directories() {
    local parent
    for parent in "$dir"/run/{workers,layers,runc,exits} "$dir"/storm-local/{workers,workers-users} "$dir/logs"; do
        [[ ! -d $parent ]] || find "$parent" -mindepth 1 -maxdepth 1
    done
}

kinds=(mounts loops cgroups processes directories)

# count_leftovers prints the number of each kind, in the order of kinds.
count_leftovers() {
    local kind
    for kind in "${kinds[@]}"; do
        "$kind" | wc -l
    done
}

# none_left tells whether nothing is left; what is left it prints.
none_left() {
    local kind found left=0
    for kind in "${kinds[@]}"; do
        found=$("$kind")
        [[ -z $found ]] && continue
        printf '%s left:\n%s\n' "$kind" "$found" >&2
        left=1
    done
    return "$left"
}

no_processes() { [[ -z $(processes) ]]; }

# sweep removes by force what a demo left that was killed: processes, then the
# mounts that they held, then the empty cgroups. Loop devices go with the mounts.
sweep() {
    local pid mount path
    for pid in $(processes); do
        kill -s KILL "$pid" 2>/dev/null || true
    done
    wait_for "$patience" no_processes || true
    while read -r mount; do
        umount "$mount"
    done < <(mounts | tac)
    while read -r path; do
        rmdir "$path"
    done < <(cgroups)
    for path in /sys/fs/cgroup/*"$cgroup" "/sys/fs/cgroup$cgroup"; do
        [[ ! -d $path ]] || rmdir "$path"
    done
}
