"""What the tests share: composing a configuration, and commands in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

from src.cli import CONF, store_schema, typed
from src.config import TrainConfig
from src.registry import store_models

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

# A real network on real data that trains in a second: 8 layers, 4 channels, 8x8 digits, two epochs of 16 steps.
TINY = (
    "data=digits",
    "model=cifar_resnet",
    "model.depth=8",
    "model.width=4",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "trainer.threads=1",
    "trainer.precision=fp32",
)


def compose(*overrides: str) -> TrainConfig:
    """The typed configuration that `python -m src.train <overrides>` would run."""
    from hydra import compose, initialize_config_dir

    store_schema()
    store_models()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed(compose("train", list(overrides)))


def command(module: str, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `python -m <module> <words>` in a new process, from the repository's root."""
    program = [sys.executable, "-m", module, *words]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=timeout, env=environment())


def environment() -> dict[str, str]:
    """The environment for a command of ours: no W&B account, no traceback, one thread."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB") and k != "HYDRA_FULL_ERROR"}
    return kept | {"OMP_NUM_THREADS": "1", "NETRC": os.devnull}
