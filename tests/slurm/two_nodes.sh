#!/usr/bin/env bash
# A SLURM of two nodes on this machine, from Debian's packages, each with a GPU that is only counted:
#   tests/slurm/two_nodes.sh start | stop
#   tests/slurm/two_nodes.sh lose NODE | back NODE      power cut of node1 or node2, and its end
# For machines that are thrown away (CI, containers): it writes /etc/slurm and needs root.
set -euo pipefail

name=iliopsoas-test
conf=/etc/slurm/slurm.conf
log=/var/log/slurm

not_run() {
  echo "NOT RUN: tests on a SLURM ($1)"
  exit 3
}

running() { [ -f "/run/slurm/$1.pid" ] && kill -0 "$(cat "/run/slurm/$1.pid")" 2>/dev/null; }

start() {
  [ "$(id -u)" = 0 ] || not_run "setting one up needs root"
  for program in slurmctld slurmd squeue munged; do
    command -v "$program" >/dev/null || not_run "$program is absent"
  done
  if [ -e "$conf" ] && ! grep -q "^ClusterName=$name$" "$conf"; then
    not_run "this machine belongs to a cluster: $conf"
  fi
  host=$(hostname -s)
  mkdir -p /etc/slurm /run/slurm /run/munge /var/lib/slurm/{ctld,d-node1,d-node2} "$log"
  chown munge: /run/munge
  # the plugin strips SLURM_* variables, so the file must lie where SLURM looks for it;
  # memory and GPU are only counted, so that the profile's requests fit a small machine
  cat >"$conf" <<CONF
ClusterName=$name
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd-%n.pid
SlurmctldLogFile=$log/slurmctld.log
SlurmdLogFile=$log/slurmd-%n.log
StateSaveLocation=/var/lib/slurm/ctld
SlurmdSpoolDir=/var/lib/slurm/d-%n
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=5,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
# a job over its memory is killed, and a node that does not answer is soon lost
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SlurmdTimeout=15
MinJobAge=86400
GresTypes=gpu
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=6821 CPUs=$(nproc) RealMemory=256000 Gres=gpu:1
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=6822 CPUs=$(nproc) RealMemory=256000 Gres=gpu:1
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=accelerated Nodes=ALL MaxTime=INFINITE State=UP
CONF
  echo "NodeName=node[1-2] Name=gpu Count=1 File=/dev/null" >/etc/slurm/gres.conf
  if ! munge -n >/dev/null 2>&1; then
    [ -s /etc/munge/munge.key ] || mungekey
    chown munge: /etc/munge/munge.key
    setpriv --reuid=munge --regid=munge --clear-groups munged || not_run "munged does not start"
  fi
  running slurmctld || slurmctld -c || not_run "slurmctld does not start"
  for node in node1 node2; do
    running "slurmd-$node" || slurmd -c -N "$node" || not_run "slurmd does not start"
  done
  for _ in $(seq 60); do
    [ "$(up)" = 2 ] && break
    sleep 0.5
  done
  sinfo -o "%P %D %T %c %m %G"
  [ "$(up)" = 2 ] || {
    tail -n 20 "$log"/*.log
    not_run "the nodes did not come up"
  }
}

up() { sinfo -h -N -p batch -o %T | grep -c -E "idle|mixed|allocated" || true; }

stop() {
  for daemon in slurmd-node1 slurmd-node2 slurmctld; do
    if running "$daemon"; then kill "$(cat "/run/slurm/$daemon.pid")"; fi
  done
  # left behind, it makes every SLURM command, and so every snakemake, wait 9 s for a controller
  if grep -qs "^ClusterName=$name$" "$conf"; then rm "$conf" /etc/slurm/gres.conf; fi
}

# A node's daemon dies, then the keepers of its jobs, then the jobs: nobody is left to tell.
lose() {
  local work keepers=() pid parent
  mapfile -t work < <(grep -lzx "SLURMD_NODENAME=$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3)
  for pid in "${work[@]}"; do
    parent=$(awk '$1 == "PPid:" { print $2 }' "/proc/$pid/status" 2>/dev/null) || continue
    if grep -qx slurmstepd "/proc/$parent/comm" 2>/dev/null; then keepers+=("$parent"); fi
  done
  kill -9 "$(cat "/run/slurm/slurmd-$1.pid")" "${keepers[@]}"
  kill -9 "${work[@]}" 2>/dev/null || true
}

back() { slurmd -c -N "$1"; }

case "${1:-}" in
start | stop | lose | back) "$@" ;;
*) sed -n 2,4p "$0" && exit 2 ;;
esac
