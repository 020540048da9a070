"""Time six ResNet-20 jobs on two cores: two at once with a thread each, or one after the other with two threads each.

    python src/bench/slots.py <folder with cifar-10-batches-py> [batches an epoch, by default 100]

Prints the seconds of each whole sweep, start-up included, and their ratio; run it on a quiet machine.
"""

import os
import subprocess
import sys
import tempfile
import time


def time_sweep(root: str, *, slots: int, threads: int, batches: str) -> float:
    """Return the seconds that the sweep takes."""
    words = "model=resnet20 data=cifar10 seed=0,1,2,3,4,5 trainer=cpu trainer.max_epochs=1 trainer.limit_val_batches=1"
    words += f" trainer.limit_test_batches=1 trainer.limit_train_batches={batches} trainer.threads={threads}"
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "src.train", "-m", *words.split(), f"data.root={root}"]
        command += [f"output_root={output}", f"hydra.launcher.slots={slots}"]
        start = time.perf_counter()
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "2"})
        return time.perf_counter() - start


if __name__ == "__main__":
    root, batches = sys.argv[1], (sys.argv[2:] or ["100"])[0]
    for slots in (1, 2):  # to warm up
        time_sweep(root, slots=slots, threads=2 // slots, batches=batches)
    times = {slots: time_sweep(root, slots=slots, threads=2 // slots, batches=batches) for slots in (1, 2)}
    for slots, seconds in times.items():
        print(f"{slots} slot(s) × {2 // slots} thread(s): {seconds:.1f} s")
    print(f"one after the other / two at once: {times[1] / times[2]:.2f}")
