#!/usr/bin/env bash
# Runs every fuzz target of the module for as many seconds as its argument says.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-30}
grep --recursive --include='*_test.go' --no-filename --with-filename --only-matching --extended-regexp '^func Fuzz[A-Za-z0-9_]+' . |
    sed -E 's|^\./(.*)/[^/]+:func (.*)|\1 \2|' | sort |
    while read -r folder target; do
        echo "$folder $target"
        go test "./$folder" -run '^$' -fuzz "^$target\$" -fuzztime "${seconds}s" </dev/null
    done
