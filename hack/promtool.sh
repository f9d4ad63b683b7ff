#!/usr/bin/env bash
# Runs promtool, Prometheus' own checker of metrics and rules, with the arguments
# given. It is this machine's, or of Debian's package, unpacked into bin/prometheus
# and not installed: that would start a Prometheus. (From source it took 242 s on
# this machine's two cores, with the clients of every cloud, and so 3 s.)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
parts=$(cd "$here/.." && pwd)/bin/prometheus
packages() { echo prometheus; }
# shellcheck source=debs.sh
source "$here/debs.sh"

if ! command -v promtool >/dev/null; then
    unpack_debs "$parts" packages
    rm -rf "${parts:?}/usr/share" # "go list ./..." would find the examples there
    PATH=$parts/usr/bin:$PATH
fi
exec promtool "$@"
