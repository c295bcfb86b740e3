#!/usr/bin/env bash
# Ingest on all machines of the cluster that this runs on, then prepare. Run again, it goes on.
# ray job submit --working-dir . -- bash jobs/ray/ingest.sh +experiment=NAME data_dir=/SHARED/data
# data_dir (and shards_dir, if it is no bucket) must be an absolute path that every machine sees.
set -euo pipefail
# Ray removes the directory that --working-dir has sent as soon as ingest ends, before prepare.
code=$(mktemp -d)
trap 'rm -rf "$code"' EXIT
cp -a "$(dirname "${BASH_SOURCE[0]}")"/../../{conf,pipeline,sketch_model} "$code"
cd "$code"
python -m pipeline.ingest engine=ray ray_address=auto "$@"
python -m pipeline.prepare "$@"
