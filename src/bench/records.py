"""Write the result files of the GPU benchmarks."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch

from ..files import write_json
from .report import collect_environment
from .rounds import Record

GPU = torch.cuda.is_available()


ROOT = Path(__file__).resolve().parents[2]


BATCH = 128


def describe_machine() -> dict[str, object]:
    """Return versions, device, driver and commit."""
    found = collect_environment("gpu" if GPU else "cpu")
    found["git_commit"] = found["git_commit"] or os.environ.get("COMMIT")  # where the tree came without its history
    if GPU:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        with contextlib.suppress(OSError):
            found["driver"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        found["gpu_memory_bytes"] = torch.cuda.get_device_properties(0).total_memory
    return found


class Results:
    """A step's JSON file, the same in each folder; it continues what the first of them holds already."""

    def __init__(self, folders: Sequence[Path], name: str) -> None:
        self.paths = [folder / f"{name}.json" for folder in folders]
        first = self.paths[0]
        self.content: Record = json.loads(first.read_text()) if first.exists() else {}

    def save(self, **parts: object) -> None:
        """Write these parts into each file, with the date, the machine and the command."""
        about: dict[str, object] = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "environment": describe_machine(),
        }
        if not GPU:
            about["note"] = "A rehearsal without a GPU: no figure here is a result."
        self.content |= about | {"command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]])} | parts
        for path in self.paths:
            write_json(path, self.content)
