#!/bin/sh
# Looks into a Java process, from inside of its container and as its user:
#   profiler.sh PID jstack|jmap|start|dump|stop [DIRECTORY]
# after Storm's flight.bash, whose words and names of files it keeps. Its exit
# code is 0 only if all was done.
set -eu
umask 0027
pid=$1 verb=$2 dir=${3:-}
now=$(date +%Y%m%d%H%M%S)

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

find_jcmd() {
    if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/jcmd" ]; then
        jcmd=$JAVA_HOME/bin/jcmd
    elif ! jcmd=$(command -v jcmd); then
        fail "the image has no jcmd, neither in JAVA_HOME (${JAVA_HOME:-not set}) nor in PATH: use an image with a JDK"
    fi
}

ask() { "$jcmd" "$pid" "$@"; }

# keep lets Storm's log viewer read a file, which must not be empty.
keep() {
    [ -s "$1" ] || fail "the JVM has not written $1"
    chmod g+r "$1"
}

# recordings prints the names of ours that run.
recordings() { ask JFR.check | sed -n 's/.*name=\(storm-recording-[0-9]*\) .*(running).*/\1/p'; }

each_recording() {
    found=
    for name in $(recordings); do
        found=yes file=$dir/recording-$pid-${name#storm-recording-}-$now.jfr
        ask JFR.dump "name=$name" "filename=$file"
        keep "$file"
        if [ "$verb" = stop ]; then ask JFR.stop "name=$name"; fi
    done
    [ -n "$found" ] || fail "no flight recording runs: start one with action FlightRecordStart"
}

start() {
    if [ -n "$(recordings)" ]; then
        printf 'a recording runs already: %s\n' "$(recordings)"
        return
    fi
    ask JFR.start "name=storm-recording-$now" settings=profile
    [ -n "$(recordings)" ] || fail "the JVM has not started a recording"
}

[ -d "/proc/$pid" ] || fail "there is no process $pid in the container"
# To ask another process would end it: a JVM is asked by SIGQUIT at first.
grep -qs 'libjvm\.so' "/proc/$pid/maps" || fail "process $pid of the container is no JVM: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
find_jcmd
case $verb in
jstack)
    file=$dir/jstack-$pid-$now.txt
    ask Thread.print >"$file" 2>&1 || { cat "$file" >&2; rm -f "$file"; exit 1; }
    keep "$file"
    ;;
jmap)
    file=$dir/recording-$pid-$now.bin
    ask GC.heap_dump -all "$file"
    keep "$file"
    ;;
start) start ;;
dump | stop) each_recording ;;
*) fail "unknown word $verb" ;;
esac
