# shellcheck shell=bash
# Daemons that a script starts and a later script stops, for scripts to source.
# DIR/NAME.pid holds a daemon's pid and start time, DIR/NAME.log its output. A
# daemon that is stopped has no DIR/NAME.pid; one that ended by itself still has.

# Seconds that one wait may take, and one question in it. They are many because a
# busy machine is slow. A wait ends earlier when a daemon has ended.
patience=120

# process_stat prints /proc/PID/stat from the state on, which follows the program's
# name, which may contain blanks. It fails where there is no such process. It does
# not use $(<FILE): where FILE is missing, bash 5.2 with "set -e" ends the script
# without a word, also in a condition.
process_stat() {
    local stat=''
    { IFS= read -rd '' stat <"/proc/$1/stat" || [[ -n $stat ]]; } 2>/dev/null || return 1
    printf '%s' "${stat##*) }"
}

# start_time prints when a process was started, in ticks since boot: pid and
# start time together name a process for ever.
start_time() {
    local stat
    stat=$(process_stat "$1") || return 1
    read -ra stat <<<"$stat"
    printf '%s' "${stat[19]}"
}

# daemon_start DIR NAME COMMAND... starts a daemon in a session of its own, so
# that Ctrl-C ends the script and not the daemon.
daemon_start() {
    local dir=$1 name=$2
    shift 2
    # 9 is the lock of a script, which must not live as long as the daemon.
    setsid "$@" >>"$dir/$name.log" 2>&1 </dev/null 9>&- &
    printf '%s %s\n' "$!" "$(start_time "$!")" >"$dir/$name.pid"
}

# daemon_pid DIR NAME prints the pid of a daemon that runs.
daemon_pid() {
    local pid started
    { read -r pid started <"$1/$2.pid"; } 2>/dev/null || return 1
    [[ -n $started && $(start_time "$pid") == "$started" ]] || return 1
    ! process_gone "$pid" || return 1
    printf '%s' "$pid"
}

# daemon_awake DIR NAME tells whether a daemon runs and is not stopped by a signal:
# one that is takes connections, and answers nothing.
daemon_awake() {
    local pid stat
    pid=$(daemon_pid "$1" "$2") || return 1
    stat=$(process_stat "$pid") || return 1
    [[ $stat != [tT]* ]]
}

# daemon_stop DIR NAME [SIGNAL] ends a daemon, by force after a minute: dockerd gives
# its containers time first. One that does not run is no error.
daemon_stop() {
    local pid
    if pid=$(daemon_pid "$1" "$2"); then
        # It may end by itself meanwhile.
        kill -s "${3:-TERM}" "$pid" 2>/dev/null || true
        if ! wait_for 60 process_gone "$pid"; then
            kill -s KILL "$pid" 2>/dev/null || true
            if ! wait_for "$patience" process_gone "$pid"; then
                echo "$2, pid $pid, does not end within $patience s after SIGKILL: see /proc/$pid/stack" >&2
                return 1
            fi
        fi
    fi
    rm -f "$1/$2.pid"
}

# await_daemons DIR NAMES COMMAND... runs COMMAND until it succeeds. So it returns
# the answer that it waited for, and no caller has to ask again. It fails when one
# of the daemons NAMES has ended by itself and COMMAND does not succeed, or after
# the patience, and says why.
await_daemons() {
    local daemons_dir=$1 daemon end=$((SECONDS + patience))
    local -a awaited
    read -ra awaited <<<"$2"
    shift 2
    until "$@"; do
        for daemon in "${awaited[@]}"; do
            if [[ -e $daemons_dir/$daemon.pid ]] && ! daemon_pid "$daemons_dir" "$daemon" >/dev/null; then
                echo "$daemon has ended; its log is $daemons_dir/$daemon.log" >&2
                return 1
            fi
        done
        if ((SECONDS >= end)); then
            echo "waited $patience s in vain for: $*; the logs are $daemons_dir/*.log" >&2
            return 1
        fi
        sleep 0.05
    done
}

# Ports of a block that claim_ports claims.
block_size=20

# claim_ports claims a block of ports of loopback, below the range that the kernel
# gives to outgoing connections, and sets first_port to the first. The lock keeps
# others that start at this moment off the block: a port is claimed before the
# daemon listens on it. The lock lives as long as the script, or a daemon that it
# has started since, which has it open too.
claim_ports() {
    local locks=${TMPDIR:-/tmp}/stormcell-ports-$EUID first
    mkdir -p "$locks"
    for ((first = 20000 + RANDOM % 500 * block_size; ; first = first % 10000 + 20000 + block_size)); do
        exec 7<>"$locks/$first"
        if flock --nonblock 7 && ports_free "$first"; then
            # shellcheck disable=SC2034 # for the script that has sourced this
            first_port=$first
            return
        fi
    done
}

ports_free() {
    local offset
    for ((offset = 0; offset < block_size; offset++)); do
        port_free $(($1 + offset)) || return 1
    done
}

# port_free tells whether nobody listens on a port of loopback.
port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# process_gone tells whether a process has ended; a zombie has.
process_gone() {
    local stat
    stat=$(process_stat "$1") || return 0
    [[ $stat == Z* ]]
}

# wait_for SECONDS COMMAND... runs COMMAND until it succeeds. Use await_daemons to
# wait for what a daemon does.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}
