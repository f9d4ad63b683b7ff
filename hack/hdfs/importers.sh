#!/usr/bin/env bash
# Prints the packages whose tests use a real HDFS: test/hdfs and whoever imports
# it.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
package=$(go list ./test/hdfs)
go list -f '{{.ImportPath}} {{join .Imports " "}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./... |
    awk -v package="$package" '{ for (i = 1; i <= NF; i++) if ($i == package) { print $1; next } }'
