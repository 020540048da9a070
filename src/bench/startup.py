"""Compare h: how long a user waits for help, for the sentence about a mistake, and for the first training step."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .rounds import Comparison
from .settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def compare_startup(settings: Settings) -> list[Comparison]:
    """h. Compare new processes, timed to their end; a training is timed to the line that reports its only step."""
    threads = {"OMP_NUM_THREADS": str(settings.threads)} if settings.threads else {}
    environment = os.environ | threads
    train = (sys.executable, "-m", "src.train")

    def time_command(*words: str, code: int = 0) -> float:
        began = time.perf_counter()
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode != code:
            raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
        return time.perf_counter() - began

    def time_first_step() -> float:
        limits = (
            "trainer=cpu",
            "trainer.max_epochs=1",
            "trainer.limit_train_batches=1",
            "trainer.limit_test_batches=1",
        )
        with tempfile.TemporaryDirectory() as folder:
            words = (*train, "model=resnet20", "data=digits", "data.val_fraction=0", *limits, f"hydra.run.dir={folder}")
            began, seconds = time.perf_counter(), None
            with subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr is not None
                for line in process.stderr:
                    if line.startswith("epoch") and seconds is None:
                        seconds = time.perf_counter() - began
        if seconds is None:
            raise RuntimeError(f"{' '.join(words)}: printed no epoch")
        return seconds

    return [
        Comparison(
            "h. Start-up",
            "s",
            {
                "python -m src.train --help": lambda: time_command(*train, "--help"),
                "import lightning, alone": lambda: time_command(sys.executable, "-c", "import lightning"),
                "python -m src.train model=resnet21": lambda: time_command(*train, "model=resnet21", code=1),
                "to the end of the first step (digits)": time_first_step,
            },
            lower_is_better=True,
        )
    ]
