#!/usr/bin/env bash
# Runs the fuzz targets of the module, and keeps what they find. Their corpus is
# in testdata/fuzz of each package, so that every "go test" runs it too.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'TEXT'
usage: hack/fuzz.sh run SECONDS  run each fuzz target for so long, as many at a time as there are
                                 cores; an input that fails is written to testdata/fuzz
       hack/fuzz.sh keep         add to testdata/fuzz the inputs of earlier runs on this machine
                                 that cover code which those there do not
TEXT
}

# targets prints the package's folder and the name of each.
targets() {
    git grep --untracked -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed -E 's|^(.*)/[^/]+:func (.*)|\1 \2|' | sort
}

# fuzz runs one target, its corpus first, and prints a line, or all of its output
# if it fails.
fuzz() {
    local folder=$1 target=$2 seconds=$3 log status=0
    log=$(mktemp)
    # Without a limit, a minute goes into making each input smaller that covers something new.
    go test "./$folder" -run "^$target\$" -fuzz "^$target\$" -fuzztime "${seconds}s" -fuzzminimizetime 10x \
        -parallel 1 >"$log" 2>&1 </dev/null ||
        out_of_time "$log" || status=1
    if ((status == 0)); then
        echo "$folder $target: $(grep -oE 'execs: [0-9]+' "$log" | tail -n 1)"
    else
        echo "$folder $target fails:"
        cat "$log"
    fi
    rm "$log"
    return "$status"
}

# out_of_time is true of a log that tells of no failing input, but that a worker
# was busy when the time was over: https://go.dev/issue/75804.
out_of_time() {
    grep -qx '    context deadline exceeded' "$1" && ! grep -qE 'Failing input|panic|hung or terminated' "$1"
}

# keep adds, of what the cache of fuzzing has of one target, each input that
# covers a block of the package which the corpus so far does not.
keep() {
    local folder=$1 target=$2 found corpus work input name before
    found=$(go env GOCACHE)/fuzz/$(go list "./$folder")/$target
    corpus=$folder/testdata/fuzz/$target
    [[ -d $found ]] || return 0
    work=$(mktemp -d)
    go test -c -cover -covermode=set -o "$work/test" "./$folder"
    covered "$work" "$folder" "^$target\$" >"$work/seen"
    before=$(wc -l <"$work/seen")
    mkdir -p "$corpus"
    for input in "$found"/*; do
        name=${input##*/}
        [[ ! -e $corpus/$name ]] || continue
        cp "$input" "$corpus/$name"
        covered "$work" "$folder" "^$target\$/^$name\$" >"$work/now"
        if [[ -z $(comm -13 "$work/seen" "$work/now") ]]; then
            rm "$corpus/$name"
        else
            sort -u -o "$work/seen" "$work/seen" "$work/now"
        fi
    done
    echo "$folder $target: $before blocks covered before, $(wc -l <"$work/seen") now"
    rmdir --ignore-fail-on-non-empty -p "$corpus"
    rm -rf "$work"
}

# covered prints the blocks of the package that a target's corpus, or one input
# of it, covers.
covered() {
    local work=$1 folder=$2 run=$3
    (cd "$folder" && "$work/test" -test.run "$run" -test.coverprofile "$work/profile" >/dev/null)
    awk 'NR > 1 && $3 > 0 { print $1 }' "$work/profile" | sort -u
}

case ${1:-} in
run)
    seconds=${2:?"$(usage)"}
    export -f fuzz out_of_time
    targets | sed "s/\$/ $seconds/" | xargs -P "$(nproc)" -L 1 bash -c 'fuzz "$@"' fuzz
    ;;
keep)
    targets | while read -r folder target; do keep "$folder" "$target"; done
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
