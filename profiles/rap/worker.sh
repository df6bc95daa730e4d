#!/usr/bin/env bash
# One machine's part of a cohort where machines share no disk (UK Biobank's platform; docs/rap.md):
#   worker.sh cohort  CONFIG                        draws the cohort      -> cohort.tar
#   worker.sh shards  CONFIG K N cohort.tar ...     the K-th of N parts   -> worker-K.tar
#   worker.sh collect CONFIG cohort.tar worker-*.tar ...   what is left, from tables to report
# CONFIG says where the data lie; RESULTS (default: results) is its results folder. Everything is
# written below the working folder. Archives keep times, by which Snakemake knows what is done.
set -euo pipefail

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "$0"
  exit 2
}
[ $# -ge 2 ] || usage
step=$1 config=$2
shift 2
results=${RESULTS:-results}
# weights may lie on a mount that knows no locks
export HDF5_USE_FILE_LOCKING=${HDF5_USE_FILE_LOCKING:-BEST_EFFORT}
root=$(cd "$(dirname "$0")/../.." && pwd)

run() { # targets first: --configfile takes every name after it
  snakemake "$@" --snakefile "$root/Snakefile" --workflow-profile "$root/profiles/rap" \
    --configfile "$config"
}
unpack() { for archive in "$@"; do tar -xf "$archive"; done; }
# written under another name first: an archive of that name is whole
pack() {
  local archive=$1
  shift
  tar -cf "$archive.partial" "$@" && mv "$archive.partial" "$archive"
}

case $step in
cohort)
  run cohort
  pack cohort.tar "$results"
  ;;
shards)
  [ $# -ge 3 ] || usage
  part=$1 parts=$2
  shift 2
  unpack "$@"
  # every N-th shard; --batch cannot tell, since a checkpoint names the shards
  mapfile -t targets < <(awk -F '\t' -v part="$part" -v parts="$parts" -v results="$results" \
    'NR > 1 && (NR - 2) % parts == part - 1 { print results "/shards/" $1 "/volumes.tsv" }' \
    "$results/cohort/shards.tsv")
  if [ ${#targets[@]} = 0 ]; then
    echo "part $part of $parts has no shard: there are fewer shards than parts" >&2
    exit 2
  fi
  status=0
  run "${targets[@]}" || status=$?
  # what is done is kept, whatever became of the rest; the cohort's own files have one source
  pack "worker-$part.tar" --exclude="$results/cohort" --exclude=manifest.tsv "$results"
  exit "$status"
  ;;
collect)
  [ $# -ge 2 ] || usage
  unpack "$@"
  run "${TARGET:-all}"
  ;;
*) usage ;;
esac
