#!/usr/bin/env bash
# Builds the image of envs/Containerfile and uses it as its first lines say: two synthetic
# participants from zips to report, and a second call with nothing to do.
#   tests/container.sh [FOLDER]      status 3: it cannot be done here, and why
# With Debian's buildah, as root, in about ten minutes. Where the registry of the base image cannot be
# reached, a base of Debian's own Python (debootstrap) stands in for it, and that is said.
set -euo pipefail
cd "$(dirname "$0")/.."

not_run() {
  echo "NOT RUN: the container image ($1)"
  exit 3
}
[ "$(id -u)" = 0 ] || not_run "needs root"
command -v buildah >/dev/null || not_run "buildah is absent"

work=${1:-$(mktemp -d)}
mkdir -p "$work/cohort" "$work/data"
# nothing of a container's own is needed but its files, so that it also works inside another one
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
base=$(awk '$1 == "FROM" { print $2 }' envs/Containerfile)
if ! buildah pull -q "$base"; then
  command -v debootstrap >/dev/null || not_run "$base cannot be had, and debootstrap is absent"
  echo "NOT RUN: on $base, which cannot be had; Debian's Python stands in"
  . /etc/os-release
  debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
    "$VERSION_CODENAME" "$work/root" >"$work/debootstrap.log" || not_run "no Debian can be had either"
  made=$(buildah from scratch)
  buildah add -q "$made" "$work/root" /
  buildah run "$made" -- sh -c "ln -s /usr/bin/python3 /usr/local/bin/python
    rm -f /usr/lib/python3*/EXTERNALLY-MANAGED"
  buildah commit -q "$made" "$base"
  buildah rm "$made" >/dev/null
fi

# how this machine reaches its packages
mounts=()
for path in /etc/ssl/certs /etc/pip.conf; do
  if [ -e "$path" ]; then mounts+=(-v "$path:$path:ro"); fi
done
buildah build --pull-never "${mounts[@]}" -f envs/Containerfile -t iliopsoas .

box=$(buildah from --pull-never localhost/iliopsoas)
trap 'buildah rm "$box" >/dev/null' EXIT
inside() {
  buildah run -v "$work/data:/data" -v "$work/cohort:/cohort:$1" --workingdir /data "$box" -- "${@:2}"
}
inside rw iliopsoas phantom -o /cohort -n 2
cat >"$work/data/mine.yaml" <<CONFIG
releases: [{name: r, zips: /cohort/zips, phenotypes: [/cohort/phenotypes.csv]}]
segmentation: {weights: starter}
CONFIG
run=(snakemake --snakefile /opt/iliopsoas/Snakefile --cores 2 --resources gpu=1 --configfile)
inside ro "${run[@]}" mine.yaml
[ -s "$work/data/results/report.zip" ]
inside ro "${run[@]}" mine.yaml 2>&1 | grep "Nothing to be done"
inside ro "${run[@]}" /opt/iliopsoas/config/config.yaml --dry-run --quiet >/dev/null
echo "The image was built and used: $work/data/results/report.zip"
