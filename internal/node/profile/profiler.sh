#!/bin/bash
# Looks into a Java process, from inside of its container and as its user:
#   profiler.sh PID jstack|jmap|start|dump|stop [DIRECTORY]
# after Storm's flight.bash, whose words and names of files it keeps. Its exit
# code is 0 only if all was done. Of the image it needs bash, chmod, rm and a JDK.
set -euo pipefail
umask 0027
pid=$1 verb=$2 dir=${3:-}
printf -v now '%(%Y%m%d%H%M%S)T' -1

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

find_jcmd() {
    jcmd=${JAVA_HOME:-}/bin/jcmd
    if [[ ! -x $jcmd ]] && ! jcmd=$(command -v jcmd); then
        fail "the image has no jcmd, neither in JAVA_HOME (${JAVA_HOME:-not set}) nor in PATH: use an image with a JDK"
    fi
}

ask() { "$jcmd" "$pid" "$@"; }

# check_jvm: to ask another process would end it, since the first question to a
# JVM is a SIGQUIT.
check_jvm() {
    local words
    [[ -d /proc/$pid ]] || fail "there is no process $pid in the container"
    [[ $(<"/proc/$pid/maps") == *libjvm.so* ]] && return
    mapfile -d '' words <"/proc/$pid/cmdline"
    fail "process $pid of the container is no JVM: ${words[*]}"
}

# name_file sets file to a path that nothing has yet, of a name and its ending: more
# than one profile may be made in a second.
name_file() {
    local n
    file=$dir/$1.$2
    for ((n = 1; ; n++)); do
        if [[ ! -e $file && ! -L $file ]]; then return; fi
        file=$dir/$1-$n.$2
    done
}

# keep lets Storm's log viewer read a file, which must not be empty.
keep() {
    [[ -s $1 ]] || fail "the JVM has not written $1"
    chmod g+r "$1"
}

# recordings prints the names of ours that run.
recordings() {
    local line list
    list=$(ask JFR.check)
    while read -r line; do
        if [[ $line =~ name=(storm-recording-[0-9]+)' '.*'(running)' ]]; then printf '%s\n' "${BASH_REMATCH[1]}"; fi
    done <<<"$list"
}

each_recording() {
    local name names file
    names=$(recordings)
    [[ $names ]] || fail "no flight recording runs: start one with action FlightRecordStart"
    for name in $names; do
        name_file "recording-$pid-${name#storm-recording-}-$now" jfr
        ask JFR.dump "name=$name" "filename=$file"
        keep "$file"
        if [[ $verb == stop ]]; then ask JFR.stop "name=$name"; fi
    done
}

start() {
    local running
    running=$(recordings)
    if [[ $running ]]; then
        printf 'a recording runs already: %s\n' "$running"
        return
    fi
    ask JFR.start "name=storm-recording-$now" settings=profile
    running=$(recordings)
    [[ $running ]] || fail "the JVM has not started a recording"
}

jstack() {
    local file
    name_file "jstack-$pid-$now" txt
    if ! ask Thread.print >"$file" 2>&1; then
        printf '%s\n' "$(<"$file")" >&2
        rm -f "$file"
        exit 1
    fi
    keep "$file"
}

jmap() {
    local file
    name_file "recording-$pid-$now" bin
    ask GC.heap_dump -all "$file"
    keep "$file"
}

check_jvm
find_jcmd
case $verb in
    jstack | jmap | start) "$verb" ;;
    dump | stop) each_recording ;;
    *) fail "unknown word $verb" ;;
esac
