#!/usr/bin/env bash
# Makes the golden files of internal/storm/protocol: Storm's own classes write
# testdata/java.golden, our codec writes testdata/go.golden, and Storm's classes
# read that and compare. Needs a JDK 17 and Maven, which fetches 44 MB once. Not part of CI: the
# tests there compare with the files.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
protocol=$(cd "$here/../../internal/storm/protocol" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mvn --quiet --batch-mode --file "$here/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime "-DoutputDirectory=$work/jars"
javac -d "$work" -cp "$work/jars/*" "$here/Golden.java"
golden() { java -XX:+UseSerialGC -cp "$work:$work/jars/*" Golden "$@"; }

golden write "$protocol/testdata/java.golden"
(cd "$protocol" && go test -run '^TestGolden$' -update .)
golden check "$protocol/testdata/go.golden"
