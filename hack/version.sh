#!/usr/bin/env bash
# Prints the version of images and manifests: the appVersion of the chart.
set -euo pipefail

awk '$1 == "appVersion:" { print $2 }' "$(dirname "${BASH_SOURCE[0]}")/../charts/stormcell/Chart.yaml"
