#!/bin/bash
# A sweep on a real SLURM, on this machine alone: what users of a cluster meet, tried for real. As root, on Debian:
#
#     tests/slurm_trial.sh
#
# It installs slurm-wlm where it is missing, starts a cluster of two nodes of two CPUs in a folder of its own, and then
#  1. submits four jobs, interrupts the launcher with Ctrl-C, and types the command again: nothing is submitted twice
#  2. meanwhile requeues one job (scontrol requeue), and warns another of the end of its time (SIGUSR2)
#  3. trains one run on both nodes at once
# and compares the weights with those of unbroken runs. The exit code is 0 only if all of it is right.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
host=$(hostname -s)
place=$(mktemp -d /tmp/slurm_trial.XXXXXX)
chmod 755 "$place"
runs=$place/runs
export SLURM_CONF=$place/slurm.conf OMP_NUM_THREADS=1

say() { echo "[$(date +%T)] $*"; }
fail() { say "FAILED: $*"; exit 1; }
until_true() { # seconds, then a command
    local limit=$((SECONDS + $1))
    while ! "${@:2}"; do ((SECONDS < limit)) || fail "waited in vain for: ${*:2}"; sleep 0.5; done
}
end() {
    local code=$? file daemon
    kill $(jobs -p) 2>/dev/null || true
    scancel --user=root 2>/dev/null || true
    for file in "$place"/*.pid; do
        daemon=$(cat "$file" 2>/dev/null) && kill "$daemon" 2>/dev/null || continue
        for _ in $(seq 100); do kill -0 "$daemon" 2>/dev/null || break; sleep 0.1; done
    done
    [ -n "${KEEP:-}" ] || rm -rf "$place" || true
    exit $code
}
trap end EXIT

command -v sbatch slurmctld munged >/dev/null || {
    say "installing slurm-wlm"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge >"$place/apt.log" 2>&1
}

mkdir -p "$place"/{state,a,b}
(umask 077 && head -c 1024 /dev/urandom >"$place/munge.key")
cat >"$SLURM_CONF" <<CONF
ClusterName=trial
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
AuthInfo=socket=$place/munge.socket
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/%n
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.%n.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
NodeName=a NodeHostname=$host NodeAddr=127.0.0.1 Port=16821 CPUs=2 RealMemory=4000
NodeName=b NodeHostname=$host NodeAddr=127.0.0.1 Port=16822 CPUs=2 RealMemory=4000
PartitionName=all Nodes=a,b Default=YES State=UP
CONF
munged --socket="$place/munge.socket" --key-file="$place/munge.key" --pid-file="$place/munged.pid" \
    --log-file="$place/munged.log" --seed-file="$place/munged.seed"
slurmctld -i
slurmd -N a
slurmd -N b
two_idle() { [ "$(sinfo --noheader --Node --states=idle | wc -l)" = 2 ]; }
until_true 60 two_idle
say "$(sinfo --version): $(sinfo --noheader)"

tiny=(data=digits model=cifar_resnet model.depth=8 model.width=4 trainer=cpu trainer.max_epochs=12 trainer.threads=1
    trainer.precision=fp32 trainer.progress=false)
sweep=("$python" -m src.train -m hydra/launcher=slurm hydra.launcher.slots=2 "${tiny[@]}" "seed=0,1,2,3" "output_root=$runs")
directory() { echo "$runs"/digits/cifar_resnet/multiclass-seed"$1"-??????????; }
number() { cat "$(directory "$1" | head -1).slurm"; }
epochs() { cat "$(directory "$1")/metrics.csv" 2>/dev/null | wc -l; }
has_trained() { [ "$(epochs "$1")" -gt 2 ]; }
submitted() { squeue --noheader --array --states=all --format=%i | wc -l; }
state() { squeue --noheader --array --states=all --format='%i %T' | awk -v job="$1" '$1 == job { print $2 }'; }
requeued() { [ "$(state "$1")" = PENDING ]; }
warned() { timeout 10 scancel --signal=USR2 "$1" || requeued "$1"; } # it may try again, and find the job gone already
log() { cat "$(directory "$1").log"; }

say "1. ${sweep[*]}"
"${sweep[@]}" >"$place/first.log" 2>&1 &
launcher=$!
until_true 300 has_trained 1
kill -INT $launcher
code=0
wait $launcher || code=$?
sed 's/^/    /' "$place/first.log"
[ $code = 130 ] || fail "the interrupted launcher's exit code is $code"
[ "$(state "$(number 1)")" = RUNNING ] || fail "the job did not go on without its launcher"

say "2. the same command again; scontrol requeue $(number 1), a job of $(epochs 1) epochs; SIGUSR2 to $(number 0)"
"${sweep[@]}" >"$place/table.log" 2>"$place/second.log" &
launcher=$!
scontrol requeue "$(number 1)"
until_true 300 has_trained 0
until_true 60 warned "$(number 0)"
for seed in 0 1; do
    until_true 120 requeued "$(number $seed)"
    scontrol update JobId="$(number $seed)" StartTime=now # SLURM would let it wait two minutes
done
wait $launcher || fail "the sweep's exit code is $?: $(tail -n 20 "$place/second.log" "$place/table.log")"
sed 's/^/    /' "$place/second.log" "$place/table.log"
[ "$(submitted)" = 4 ] || fail "$(submitted) jobs were submitted instead of 4"
for seed in 0 1 2 3; do
    grep -q '"status": "finished"' "$(directory $seed)/results.json" || fail "seed $seed is not finished"
done
for seed in 0 1; do
    say "   the log of seed $seed:"
    log $seed | grep -v '^epoch' | cut -c1-150 | sed 's/^/        /'
    [ "$(log $seed | grep -c '^Training')-$(log $seed | grep -c '^Resuming')" = 1-1 ] || fail "seed $seed did not resume once"
done

say "3. one run on two nodes"
ddp=("${tiny[@]}" trainer=ddp trainer.accelerator=cpu seed=0 trainer.max_epochs=2)
# the nodes of a real cluster have names that resolve; these have one address
MASTER_ADDR=127.0.0.1 "$python" -m src.train -m hydra/launcher=slurm "${ddp[@]}" trainer.num_nodes=2 \
    "output_root=$place/nodes" >"$place/nodes.log" 2>&1 || fail "two nodes: $(tail -n 20 "$place/nodes.log")"
grep -h '^Training' "$place"/nodes/*/*/*.log | cut -c1-150 | sed 's/^/    /'

say "4. unbroken runs, without SLURM"
for seed in 0 1; do "$python" -m src.train "${tiny[@]}" "seed=$seed" "hydra.run.dir=$place/whole$seed" >/dev/null 2>&1; done
"$python" -m src.train "${ddp[@]}" trainer.devices=2 "hydra.run.dir=$place/whole_ddp" >/dev/null 2>&1
PYTHONPATH=tests "$python" - "$(directory 0)" "$place/whole0" "$(directory 1)" "$place/whole1" \
    "$(echo "$place"/nodes/*/*/*-??????????)" "$place/whole_ddp" <<'PYTHON' || fail "the weights differ"
import sys
from pathlib import Path

from helpers import assert_equal, weights

for one, other in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    a, b = weights(Path(one)), weights(Path(other))
    assert_equal(a, b)
    print(f"    {len(a)} tensors equal, bit by bit: {Path(one).name} and {Path(other).name}")
PYTHON
say "all is right"
