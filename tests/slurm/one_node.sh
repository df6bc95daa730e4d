#!/usr/bin/env bash
# A SLURM of one node on this machine, from Debian's packages, with one GPU that is only counted:
#   tests/slurm/one_node.sh start | stop
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
  mkdir -p /etc/slurm /run/slurm /run/munge /var/lib/slurm/{ctld,d} "$log"
  chown munge: /run/munge
  # the plugin strips SLURM_* variables, so the file must lie where SLURM looks for it;
  # memory and GPU are only counted, so that the profile's requests fit a small machine
  cat >"$conf" <<CONF
ClusterName=$name
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile=$log/slurmctld.log
SlurmdLogFile=$log/slurmd.log
StateSaveLocation=/var/lib/slurm/ctld
SlurmdSpoolDir=/var/lib/slurm/d
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=5,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=86400
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=256000 Gres=gpu:1 State=UNKNOWN
PartitionName=batch Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=accelerated Nodes=$host MaxTime=INFINITE State=UP
CONF
  echo "NodeName=$host Name=gpu Count=1 File=/dev/null" >/etc/slurm/gres.conf
  if ! munge -n >/dev/null 2>&1; then
    [ -s /etc/munge/munge.key ] || mungekey
    chown munge: /etc/munge/munge.key
    setpriv --reuid=munge --regid=munge --clear-groups munged || not_run "munged does not start"
  fi
  running slurmctld || slurmctld -c || not_run "slurmctld does not start"
  running slurmd || slurmd -c || not_run "slurmd does not start"
  for _ in $(seq 60); do
    sinfo -h -o %T 2>/dev/null | grep -q -E "idle|mixed|allocated" && break
    sleep 0.5
  done
  sinfo -o "%P %T %c %m %G"
  sinfo -h -o %T | grep -q -E "idle|mixed|allocated" || {
    tail -n 20 "$log"/*.log
    not_run "the node did not come up"
  }
}

stop() {
  for daemon in slurmd slurmctld; do
    if running "$daemon"; then kill "$(cat "/run/slurm/$daemon.pid")"; fi
  done
}

case "${1:-}" in
start | stop) "$1" ;;
*) sed -n 2,3p "$0" && exit 2 ;;
esac
