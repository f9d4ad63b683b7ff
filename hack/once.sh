# shellcheck shell=bash
# For scripts that build a directory below bin/, once: source this file.

# once OUT WANT BUILD calls BUILD PARTS, which fills the empty directory PARTS
# beside OUT, and moves what is in there to OUT: unless OUT was built from the
# same before, of which WANT, a hash of all that it depends on, is the proof. A
# second build waits for the first, and then has nothing to do.
once() {
    local out=$1 want=$2 build=$3 parts part
    mkdir -p "$out"
    exec 8<"$out"
    flock 8
    [[ ! -f $out/.built || $(<"$out/.built") != "$want" ]] || return 0
    rm -rf "$(dirname "$out")/.${out##*/}".*
    parts=$(mktemp -d "$(dirname "$out")/.${out##*/}.XXXXXX")
    # shellcheck disable=SC2064 # expanded now, because parts is local
    trap "rm -rf '$parts'" EXIT
    "$build" "$parts"
    rm -f "$out/.built"
    for part in "$parts"/*; do
        rm -rf "${out:?}/${part##*/}"
        mv "$part" "$out/"
    done
    printf '%s\n' "$want" >"$parts/.built"
    mv "$parts/.built" "$out/.built"
}
