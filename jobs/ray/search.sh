#!/usr/bin/env bash
# A search on all machines of the cluster that this runs on. Run again, it goes on.
# ray job submit --working-dir . -- bash jobs/ray/search.sh /SHARED +experiment=NAME
# /SHARED is a folder that every machine sees; relative paths (data, runs, results) are within it.
set -euo pipefail
code=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
export PYTHONPATH=$code${PYTHONPATH:+:$PYTHONPATH}
cd "$1"
exec python -m pipeline.search search.ray_address=auto "${@:2}"
