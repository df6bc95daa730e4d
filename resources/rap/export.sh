#!/usr/bin/env bash
# What the workflow needs of a project on UK Biobank's platform, found by name and field (docs/rap.md):
#   export.sh [FOLDER]      FOLDER of the project that is filled, /iliopsoas by default
# zips.json         every zip of field 20201, whatever folder it lies in, all instances
# participant.csv   the fields of field_names.txt that the project has, by the app table-exporter
# Run it where `dx` is logged in and the project selected; DATASET names another dataset than the
# newest. Run it again after a data refresh: whoever has left is then no longer in the table.
set -euo pipefail

folder=${1:-/iliopsoas}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

dx mkdir -p "$folder"
dx find data --class file --property field_id=20201 --json >"$work/zips.json"
count=$({ grep -o '_20201_[0-9]*_[0-9]*\.zip"' "$work/zips.json" || true; } | wc -l)
echo "$count zips of field 20201"
[ "$count" -gt 0 ] || { echo "no file has the property field_id=20201" >&2; exit 1; }

dataset=${DATASET:-$(dx ls --brief '/app*.dataset' | tail -n 1)}
# a name that the project has not been given would stop the export; it prints "participant.NAME<tab>TITLE"
dx extract_dataset "$dataset" --list-fields --entities participant |
  cut -f 1 | sed 's/^participant\.//' >"$work/available.txt"
grep -Fx -f "$work/available.txt" "$here/field_names.txt" >"$work/field_names.txt" || true
grep -Fxv -f "$work/available.txt" "$here/field_names.txt" | sed 's/^/not in this project: /' >&2 || true
grep -Fxq eid "$work/field_names.txt" || { echo "$dataset lists no field eid" >&2; exit 1; }

for name in zips.json field_names.txt; do
  # the platform keeps files of one name beside each other
  dx rm -f "$folder/$name" >/dev/null 2>&1 || true
  dx upload "$work/$name" --path "$folder/$name" --brief >/dev/null
done
dx rm -f "$folder/participant.csv" >/dev/null 2>&1 || true
dx run table-exporter \
  -idataset_or_cohort_or_dashboard="$dataset" -ientity=participant \
  -ifield_names_file_txt="$folder/field_names.txt" \
  -icoding_option=RAW -iheader_style=FIELD-NAME -ioutput_format=CSV -ioutput=participant \
  --destination "$folder/" --brief --yes
