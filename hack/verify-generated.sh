#!/usr/bin/env bash
# Fails when a generated file is not what "make generate" makes of the sources.
# It works on a copy, so that the tree stays as it is.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

# The files that git knows or would take in, as they are now.
git ls-files -z --cached --others --exclude-standard |
    xargs -0 --no-run-if-empty ls -d 2>/dev/null |
    tar --create --files-from - | tar --extract --directory "$copy"
make --no-print-directory --silent -C "$copy" ASSETS="$ASSETS" generate
for generated in api charts client config dist docs/api.md internal/node/seccomp; do
    if ! diff --recursive --unified "$PWD/$generated" "$copy/$generated"; then
        echo 'generated files are stale: run "make generate" and commit what it changes' >&2
        exit 1
    fi
done
