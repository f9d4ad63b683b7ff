#!/usr/bin/env bash
# Prints the name of every system call of Linux, on whatever architecture, and its
# number on x86-64, or "-" where that has none; as golang.org/x/sys knows them.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
unix=$(go list -f '{{.Dir}}' golang.org/x/sys/unix)
awk '
    $1 !~ /^SYS_/ { next }
    { name = tolower(substr($1, 5)) }
    FILENAME ~ /_amd64\.go$/ { number[name] = $3 }
    !(name in number) { number[name] = "-" }
    END { for (name in number) print name, number[name] }
' "$unix"/zsysnum_linux_*.go | LC_ALL=C sort
