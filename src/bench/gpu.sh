#!/usr/bin/env bash
# Measure what only a GPU can show, on a machine that has python3 with torch and torchvision, and no network:
#
#   src/bench/gpu.sh setup     unpack the parts of $BUNDLE that are here (python src/bench/bundle.py makes them)
#   src/bench/gpu.sh tests     run the tests that need a GPU
#   src/bench/gpu.sh table6    train He et al.'s Table 6 in 36 epochs: [overrides, such as model=resnet20 seed=0,1,2]
#   src/bench/gpu.sh speed     measure images/s: [net …], or all
#   src/bench/gpu.sh speedrun  train to 96 % on CIFAR-10, beside airbench: [overrides]
#   src/bench/gpu.sh [all]     run all of these in this order, even where one fails
#
# Call a step again that was cut off: table6 and speedrun continue, speed measures the networks that are named. The
# results, tests.json, speed.json, table6.json and speedrun.json, are written to $OUT as they come. COMMIT= names the
# commit where there is no git. REHEARSE=1 tries every step at a small size on a CPU.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

step=${1:-all}
[ $# -gt 0 ] && shift
case $step in
    setup | tests | table6 | speed | speedrun | all) ;;
    *) echo "src/bench/gpu.sh: no such step: $step (setup, tests, table6, speed, speedrun, all)"; exit 2 ;;
esac

REHEARSE=${REHEARSE:-}
BUNDLE=${BUNDLE:-.bundle}  # its parts, 1 and 2
WORK=${WORK:-/tmp/gpu-${REHEARSE:+rehearsal-}benchmarks}  # data, packages and runs
OUT=${OUT:-${REHEARSE:+$WORK/out}}
OUT=${OUT:-docs/results}
FROM=${FROM:-}             # a folder of results to continue
PYTHON=${PYTHON:-python3}
SLOTS=${SLOTS:-3}          # trainings of Table 6 that share the GPU
RUNS=${RUNS:-10}           # trainings of each side of the speedrun
ROUNDS=${ROUNDS:-5}
export PYTHONPATH="$PWD:$WORK/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$WORK/results" "$OUT"
[ -n "$REHEARSE" ] && rm -f "$WORK"/results/*.json && RUNS=2 ROUNDS=2
[ -n "$FROM" ] && cp -n "$FROM"/*.json "$WORK/results/"
cp "$WORK"/results/*.json "$OUT/" 2>/dev/null

gpu() { "$PYTHON" -m src.bench.gpu "$@" --out "$WORK/results" "$OUT"; }

setup() {
    local parts=() part
    for part in "$BUNDLE/1" "$BUNDLE/2"; do [ -d "$part" ] && parts+=("$part"); done
    [ ${#parts[@]} -gt 0 ] || { echo "$BUNDLE: no part of the bundle is here; make it with python src/bench/bundle.py"; return 1; }
    if [ ! -e "$WORK/site/hydra" ]; then
        "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --disable-pip-version-check \
            --target "$WORK/site" "${parts[0]}"/wheels/*.whl || return 1
    fi
    "$PYTHON" src/bench/bundle.py unpack "$WORK/data" "${parts[@]}"
}

tests() { gpu tests; }

speed() {
    local nets=("$@") net failed=0 few=()
    [ ${#nets[@]} -gt 0 ] || nets=(resnet20 resnet110 resnet56 resnet18 resnet50 resnet1202)
    [ -n "$REHEARSE" ] && nets=(resnet20) few=(--images 256)
    for net in "${nets[@]}"; do  # each in its own process, which leaves nothing on the GPU
        gpu speed --root "$WORK/data" --rounds "$ROUNDS" ${few[@]+"${few[@]}"} "$net" || failed=1
    done
    return $failed
}

table6() {
    local words=("$@") failed=0
    [ ${#words[@]} -gt 0 ] || words=(model=resnet20,resnet32,resnet44,resnet56,resnet110 seed=0,1,2)
    [ -n "$REHEARSE" ] && words=(model=resnet20 seed=0,1 trainer.max_epochs=2 trainer.limit_train_batches=2
        trainer.limit_val_batches=1 trainer.limit_test_batches=1 trainer.threads=1) && SLOTS=1
    "$PYTHON" -m src.train -m experiment=cifar10_short "${words[@]}" trainer.graph=full "data.root=$WORK/data" \
        "output_root=$WORK/table6" "hydra.launcher.slots=$SLOTS" || failed=1
    "$PYTHON" -m src.report "runs=$WORK/table6" "out=$WORK/report" || echo "No report; table6.json has the figures."
    gpu table6 --runs "$WORK/table6" --slots "$SLOTS" || failed=1
    return $failed
}

speedrun() {
    local words=("$@")
    [ -n "$REHEARSE" ] && words+=(trainer.max_epochs=2 trainer.limit_train_batches=2 trainer.limit_test_batches=1
        data.batch_size=10 data.eval_batch_size=10)
    gpu speedrun --root "$WORK/data" --runs "$RUNS" ${words[@]+"${words[@]}"}
}

all() {
    local failed=0 each
    for each in setup tests table6 speed speedrun; do
        echo "== $each"
        "$each" || { failed=1; echo "== $each: failed"; }
    done
    return $failed
}

"$step" "$@"
