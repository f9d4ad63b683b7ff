#!/usr/bin/env bash
# Fetches Apache Hadoop, in the version that pom.xml beside this script pins,
# with Maven into bin/hadoop: the jars that NameNode, DataNode, JournalNode and
# the "hdfs" client need. hack/hdfs.sh runs them. It does nothing when they are
# there already.
#
# It also trains the JVM: it runs an HDFS, notes the classes that were loaded, and
# keeps them parsed in an archive (class data sharing), by which daemons and
# clients start in half of the time.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$here/../.." && pwd)/bin
out=$bin/hadoop
# shellcheck source=../progress.sh
source "$here/../progress.sh"

# stamp names what a build depends on, so that a change of it builds again.
stamp() {
    # The archive of classes is of one JVM and one path.
    cat "$here/pom.xml" "${BASH_SOURCE[0]}" <(java -version 2>&1) <(echo "$out") | sha256sum | cut -d' ' -f1
}

# fetch copies the jars; Maven keeps what it downloads in ~/.m2.
fetch() {
    local parts=$1
    echo "Apache Hadoop is fetched with Maven, once, about 70 MB, and run a first time: a minute or two." >&2
    logged "$parts/log" "lines of Maven" "" \
        mvn --batch-mode --file "$here/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime "-DoutputDirectory=$parts/jars"
    rm "$parts/log"
}

# train makes the archive of classes. The JVM takes it only for jars at the path
# where they were when it was made.
train() {
    local parts=$1
    mkdir "$parts/lists"
    CLASS_LISTS=$parts/lists logged "$parts/log" "lines of HDFS" "" practise "$parts/hdfs"
    # Only plain names: classes made at run time and by loaders of their own cannot
    # be shared.
    grep -hvE '^[#@]|source:' "$parts/lists"/* | awk '!seen[$1]++ { print $1 }' >"$parts/classes"
    logged "$parts/log" "lines of the JVM" "" \
        java -Xshare:dump -XX:+UseSerialGC -XX:SharedClassListFile="$parts/classes" \
        -XX:SharedArchiveFile="$parts/classes.jsa" -cp "$(printf '%s:' "$out"/jars/*.jar)"
    mv "$parts/classes.jsa" "$out/classes.jsa"
}

# practise does a bit of everything, below a directory.
practise() {
    local hdfs=$here/../hdfs.sh
    # Daemons must not hold the lock of a build that was killed.
    exec 8<&-
    "$hdfs" up "$1" --ha --secure
    "$hdfs" dfs "$1" -put "$here/pom.xml" /pom.xml
    "$hdfs" dfs "$1" -cat /pom.xml
    "$hdfs" dfs "$1" -ls -R /
    "$hdfs" admin "$1" fsck / -files -blocks
    "$hdfs" down "$1"
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
    trap "'$here/../hdfs.sh' down '$parts/hdfs'; rm -rf '$parts'" EXIT
    fetch "$parts"
    rm -rf "$out"
    mkdir "$out"
    mv "$parts/jars" "$out/"
    train "$parts"
    printf '%s\n' "$want" >"$parts/.built"
    mv "$parts/.built" "$out/.built"
}

main "$@"
