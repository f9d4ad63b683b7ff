# shellcheck shell=bash
# Progress of long work, for scripts to source.

# progress WHAT [TOTAL] reads lines and shows how many have come, of TOTAL where
# that is known: on a terminal one line that is rewritten, elsewhere a line every
# 15 s. It shows time passing even when no line comes.
progress() {
    local what=$1 total=${2:-} lines=0 shown=$SECONDS begun=$SECONDS pause=15 status
    [[ -t 2 ]] && pause=1
    while true; do
        status=0
        IFS= read -r -t 1 _ || status=$?
        ((status == 0)) && lines=$((lines + 1))
        ((status == 0 || status > 128)) || break
        if ((SECONDS - shown >= pause)); then
            progress_line "$what" "$lines" "$total" $((SECONDS - begun))
            shown=$SECONDS
        fi
    done
    [[ -t 2 ]] && printf '\r\033[K' >&2
    return 0
}

progress_line() {
    local text="    $1: $2${3:+ of $3}, $4 s"
    if [[ -t 2 ]]; then
        printf '\r\033[K%s' "$text" >&2
    else
        printf '%s\n' "$text" >&2
    fi
}

# logged LOG WHAT TOTAL COMMAND... runs COMMAND, counts its output lines as
# progress and keeps them in LOG, whose end it shows when COMMAND fails. Call it
# outside of conditions: inside, a function would go on after an error.
logged() {
    local log=$1 what=$2 total=$3 status
    shift 3
    set +e
    (set -e && "$@") 2>&1 </dev/null | tee "$log" | progress "$what" "$total"
    status=${PIPESTATUS[0]}
    set -e
    if ((status != 0)); then
        note "$what: exit code $status. The last lines of $log:"
        tail -n 20 "$log" >&2
    fi
    return "$status"
}

# note prints a line, over the one that shows progress.
note() {
    [[ -t 2 ]] && printf '\r\033[K' >&2
    printf '%s\n' "$*" >&2
}
