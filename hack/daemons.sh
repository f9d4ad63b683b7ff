# shellcheck shell=bash
# Daemons that a script starts and a later script stops, for scripts to source.
# DIR/NAME.pid holds a daemon's pid and start time, DIR/NAME.log its output.

# start_time prints when a process was started, in ticks since boot: pid and
# start time together name a process for ever.
start_time() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    # The second field, the program's name, may contain blanks.
    read -ra stat <<<"${stat##*) }"
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

# daemon_stop DIR NAME [SIGNAL] ends a daemon, by force after 15 s. One that does
# not run is no error.
daemon_stop() {
    local pid
    if pid=$(daemon_pid "$1" "$2"); then
        kill -s "${3:-TERM}" "$pid"
        if ! wait_for 15 process_gone "$pid"; then
            kill -s KILL "$pid"
            wait_for 15 process_gone "$pid"
        fi
    fi
    rm -f "$1/$2.pid"
}

# free_port finds a port of loopback that nobody listens on, below the range
# that the kernel gives to outgoing connections.
free_port() {
    local port
    while true; do
        port=$((20000 + RANDOM % 10000))
        if port_free "$port"; then
            echo "$port"
            return
        fi
    done
}

# port_free tells whether nobody listens on a port of loopback.
port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# process_gone tells whether a process has ended; a zombie has.
process_gone() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
    [[ ${stat##*) } == Z* ]]
}

# wait_for SECONDS COMMAND... runs COMMAND until it succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}
