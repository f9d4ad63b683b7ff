#!/usr/bin/env bash
# Fetches Apache Hadoop, in the version that pom.xml beside this script pins,
# with Maven into bin/hadoop: the jars that NameNode, DataNode, JournalNode and
# the "hdfs" client need. hack/hdfs.sh runs them. It does nothing when they are
# there already.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$here/../.." && pwd)/bin
out=$bin/hadoop
# shellcheck source=../progress.sh
source "$here/../progress.sh"

# stamp names what a build depends on, so that a change of it builds again.
stamp() {
    cat "$here/pom.xml" "${BASH_SOURCE[0]}" | sha256sum | cut -d' ' -f1
}

# fetch copies the jars; Maven keeps what it downloads in ~/.m2.
fetch() {
    local parts=$1
    echo "Apache Hadoop is fetched with Maven, once: about 70 MB." >&2
    logged "$parts/log" "lines of Maven" "" \
        mvn --batch-mode --file "$here/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime "-DoutputDirectory=$parts/jars"
    rm "$parts/log"
}

main() {
    local want parts
    want=$(stamp)
    mkdir -p "$bin"
    # A second build waits for the first, and then has nothing to do.
    exec 8<"$bin"
    flock 8
    [[ ! -f $out/.built || $(<"$out/.built") != "$want" ]] || return 0
    rm -rf "$bin"/.hadoop.*
    parts=$(mktemp -d "$bin/.hadoop.XXXXXX")
    # shellcheck disable=SC2064 # expanded now, because parts is local
    trap "rm -rf '$parts'" EXIT
    chmod 755 "$parts"
    fetch "$parts"
    printf '%s\n' "$want" >"$parts/.built"
    rm -rf "$out"
    mv "$parts" "$out"
}

main "$@"
