#!/usr/bin/env bash
# One machine's part of a cohort where machines share no disk and may be taken away (UK Biobank's
# platform; docs/rap.md). STORE is a folder of the project, for this run alone:
#   worker.sh cohort  CONFIG STORE               draws the cohort
#   worker.sh shards  CONFIG STORE K N           the K-th of N parts, shard by shard
#   worker.sh collect CONFIG STORE [TARGET ...]  what is left, from tables to report
# Work is done below the working folder; shards and collect take --every SECONDS, between two
# uploads of a shard in work. `dx` must be there, logged in or inside a job.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
# weights may lie on a mount that knows no locks
export HDF5_USE_FILE_LOCKING=${HDF5_USE_FILE_LOCKING:-BEST_EFFORT}
cores=${CORES:-$(nproc)}

if [ $# -lt 3 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0"
  exit 2
fi
# a cohort is drawn anew, whatever is there: what an earlier machine saw is not on this one
force=()
[ "$1" != cohort ] || force=(--forcerun cohort)
# One shard at a time has all cores; no shard waits for another's images, which may be elsewhere.
# A killed worker's lock on the folder would stop the next one, which has a lock of its own.
exec python -m iliopsoas.rap "$@" -- \
  snakemake "{targets}" --snakefile "$root/Snakefile" --workflow-profile "$root/profiles/rap" \
  "${force[@]}" --configfile "$2" --config 'run={"copies": "{copies}", "shards_in_work": 1000000000}' --nolock \
  --set-threads "dixon_shard=$cores" "landmarks_shard=$cores" "crops_shard=$cores" \
  "segment_shard=$cores" "volumes_shard=$cores" "opinion_shard=$cores" "other_masks_shard=$cores"
