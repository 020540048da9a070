"""What the tests share: composing a configuration, commands in a process of their own, and looking at runs."""

import atexit
import csv
import functools
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from src.cli.compose import CONF, complete_overrides, store_schema, to_train_config
from src.config.run import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")
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


def choose_evenly(cases: Sequence[T], most: int, kind: Callable[[T], object] = lambda case: None) -> list[T]:
    """Choose about `most` cases, as evenly as can be and at least one of each kind; all of them with FAULTS=all."""
    if os.environ.get("FAULTS") == "all" or len(cases) <= most:
        return list(cases)
    kinds: dict[object, list[int]] = {}
    for place, case in enumerate(cases):
        kinds.setdefault(kind(case), []).append(place)
    chosen = []
    for places in kinds.values():
        wanted = max(1, round(most * len(places) / len(cases)))
        chosen += [places[(2 * k + 1) * len(places) // (2 * wanted)] for k in range(wanted)]
    return [cases[place] for place in sorted(chosen)]


def compose(*overrides: str) -> TrainConfig:
    """The typed configuration that `python -m src.train <overrides>` would run."""
    from hydra import compose, initialize_config_dir

    store_once()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_train_config(compose("train", complete_overrides(list(overrides))))


@functools.cache
def store_once() -> None:
    """What Hydra is to know; its store lasts as long as the process."""
    store_schema()


def command(module: str, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `python -m <module> <words>` in a process of its own, from the repository's root; see forks.py."""
    server = fork_server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        stdout.touch()
        stderr.touch()
        order = {"module": module, "words": words, "environment": environment()}
        server.stdin.write(json.dumps(order | {"stdout": str(stdout), "stderr": str(stderr)}) + "\n")
        server.stdin.flush()
        child = int(server.stdout.readline())
        late = threading.Timer(timeout, os.kill, (child, signal.SIGKILL))
        late.start()
        code = int(server.stdout.readline())
        late.cancel()
        return subprocess.CompletedProcess([module, *words], code, stdout.read_text(), stderr.read_text())


def refuse(run_command: Callable[[], int], cases: Mapping[str, str], *more: str) -> None:
    """Check that a command, here in this process, refuses each of these words with an error that says this."""
    import pytest

    from src.errors import UserError

    for words, sentence in cases.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["command", *words.split(), *more])
            with pytest.raises(UserError, match=re.escape(sentence)):
                run_command()


@functools.cache
def fork_server() -> subprocess.Popen[str]:
    program = [sys.executable, str(ROOT / "tests" / "forks.py")]
    pipe = subprocess.PIPE
    server = subprocess.Popen(program, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, env=environment())
    atexit.register(server.communicate)
    return server


def environment() -> dict[str, str]:
    """The environment for a command of ours: no W&B account, no traceback, one thread."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB") and k != "HYDRA_FULL_ERROR"}
    return kept | {"OMP_NUM_THREADS": "1", "NETRC": os.devnull}


def run_here(module: str, *words: str, capsys: Any) -> tuple[int, str]:
    """Run a command in this process; return its exit code, and all that it says."""
    before, paths = list(sys.argv), list(sys.path)
    sys.argv[:] = [module, *words]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        code: Any = 0
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv[:], sys.path[:] = before, paths
        forget_hydra()
    out, err = capsys.readouterr()
    return code, out + err


def forget_hydra() -> None:
    """Keep what a command leaves behind in this process from the next one."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from src.sweep.jobs import ENTRIES

    ENTRIES.clear()
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    for name in [name for name in sys.modules if name.startswith("hydra_plugins")]:  # Hydra loads them anew
        del sys.modules[name]


def train(path: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return command("src.train", *TINY, *words, f"hydra.run.dir={path}", **options)


def start(path: Path, *words: str) -> subprocess.Popen[str]:
    """The same without waiting."""
    program = [sys.executable, "-m", "src.train", *TINY, *words, f"hydra.run.dir={path}"]
    return subprocess.Popen(program, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment())


def results(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "results.json").read_text())
    return content


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


def weights(path: Path, name: str = "last") -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint that training goes on from."""
    state = torch.load(path / "checkpoints" / f"{name}.ckpt", weights_only=True)
    momenta = {f"momentum {k}": v["momentum_buffer"] for k, v in state["optimizer_states"][0]["state"].items()}
    return state["state_dict"] | state.get("current_model_state", {}) | momenta


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert len(a) > 20
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 180) -> None:
    """Until this file exists."""
    limit = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit, f"{path} did not come"
        time.sleep(0.01)
