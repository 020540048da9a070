"""Commands with a fault at one of their file operations, and a look at what they leave."""

import csv
import errno
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from helpers import ROOT, TINY, environment

WORDS = (*TINY, "data.limit_train=64")  # two epochs of one step: what is tried is the files
LIMIT = 240  # seconds after which a command counts as one that hangs, on a busy machine, too

# what happens at the chosen operation, and the kinds of operations; as in shim.c
COUNT, FAIL, KILL, TEAR = range(4)
CREATE, WRITE, NAME, SYNC, READ = 1, 2, 4, 8, 16
CHANGES = CREATE | WRITE | NAME  # a kill before any other operation leaves what a kill before the next of these leaves
ALL = CHANGES | SYNC | READ
ERRORS = {  # and the kinds of operations that fail with them; a full disk stays full
    errno.ENOSPC: CREATE | WRITE | SYNC,
    errno.EIO: ALL,
    errno.EACCES: CREATE | NAME | READ,
}

TIMED = ("metrics.csv", "run.json", "best.ckpt", "previous.ckpt")  # the checkpoints hold rows with seconds
VARYING = ("time", "run", "command", "peak_memory_bytes", "environment", "wandb_id")  # of results.json


@dataclass(frozen=True)
class Operation:
    """A file operation of a command, by its number."""

    number: int
    kind: int
    name: str
    path: str


@dataclass(frozen=True)
class Fault:
    """What is to happen at an operation below a folder, counted among those of some kinds."""

    below: Path
    action: int = COUNT
    at: int = 0
    error: int = 0
    kinds: int = ALL


@dataclass(frozen=True)
class Done:
    """How a command has ended, and the file operations that it made where these were counted."""

    code: int
    out: str
    told: str  # on stderr
    operations: list[Operation] = field(default_factory=list)

    def find_fault(self, *, names: str = "") -> str:
        """Return what is wrong with the way it has told of an error; "" where a sentence matches the names."""
        if "Traceback" in self.told:
            return "traceback"
        if self.code == -14:
            return "hangs"
        if self.code in (0, 1) and "(debug=true" not in self.told and re.search(names, self.told):
            return ""
        return "library's error" if "(debug=true" in self.told else f"unnamed, exit code {self.code}"


class Server:
    """A Python that has imported the project, and is forked for each command; see server.py."""

    def __init__(self, shim: Path) -> None:
        program = [sys.executable, str(ROOT / "tests" / "faults" / "server.py")]
        pipe, preload = subprocess.PIPE, {"LD_PRELOAD": str(shim)}
        self.process = subprocess.Popen(
            program, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, env=environment() | preload
        )

    def run(self, module: str, *words: str, fault: Fault | None = None) -> Done:
        assert self.process.stdin is not None and self.process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            files = {name: Path(folder, name) for name in ("stdout", "stderr", "operations")}
            for file in files.values():
                file.touch()
            order: dict[str, Any] = {"module": module, "words": words, "environment": environment(), "limit": LIMIT}
            order |= {"stdout": str(files["stdout"]), "stderr": str(files["stderr"]), "fault": None}
            if fault:
                sticky = int(fault.error == errno.ENOSPC)
                numbers = (fault.action, fault.at, fault.error, fault.kinds, CREATE | WRITE, sticky)
                order["fault"] = [str(fault.below), str(files["operations"]), *numbers]
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            self.process.stdout.readline()
            code = int(self.process.stdout.readline())
            lines = [line.split(" ", 3) for line in files["operations"].read_text(errors="replace").splitlines()]
            found = [Operation(int(number), int(kind), name, path) for number, kind, name, path in lines]
            return Done(code, files["stdout"].read_text(), files["stderr"].read_text(), found)

    def close(self) -> None:
        self.process.communicate()


def train(server: Server, path: Path, *words: str, fault: Fault | None = None) -> Done:
    return server.run("src.train", *WORDS, *words, f"hydra.run.dir={path}", fault=fault)


@dataclass(frozen=True)
class Left:
    """What a finished run leaves, without its times, and the file operations that have made it where counted."""

    path: Path
    operations: list[Operation] = field(default_factory=list)

    @property
    def changes(self) -> list[Operation]:
        """The operations that change files, numbered as where only these are counted."""
        found = [operation for operation in self.operations if operation.kind & CHANGES]
        return [replace(operation, number=number) for number, operation in enumerate(found, 1)]

    @cached_property
    def content(self) -> dict[str, Any]:
        results = json.loads((self.path / "results.json").read_text())
        rows = list(csv.DictReader((self.path / "metrics.csv").read_text().splitlines()))
        timed = ("seconds", "images_per_second")
        files = ("confusion_matrix.csv", "per_class.csv", "test_predictions.npz", "config.yaml")
        return {
            "results": {name: value for name, value in results.items() if name not in VARYING},
            "rows": [{name: value for name, value in row.items() if name not in timed} for row in rows],
            "tensors": flatten(torch.load(self.path / "checkpoints" / "last.ckpt", weights_only=True)),
            "names": sorted(file.name for file in self.path.rglob("*") if file.is_file()),
        } | {name: (self.path / name).read_bytes() for name in files if (self.path / name).exists()}

    def find_difference(self, other: "Left") -> str:
        """Return the first part that differs from another run's, or "" where they are the same bit for bit."""
        try:
            ours, theirs = self.content, other.content
        except Exception as error:
            return f"cannot be read: {type(error).__name__}: {error}"
        for name in ours.keys() | theirs.keys():
            if ours.get(name) != theirs.get(name):
                return name
        return ""


def flatten(tree: Any, prefix: str = "") -> dict[str, bytes]:
    """Return the tensors of nested dictionaries and lists by their place, as bytes."""
    if isinstance(tree, torch.Tensor):
        return {prefix: tree.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()}
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return {place: value for name, inner in pairs for place, value in flatten(inner, f"{prefix}/{name}").items()}


def count_saved_epochs(operations: list[Operation], before: int) -> int:
    """Return the epochs that a checkpoint had saved before an operation, which is itself not counted."""
    saved = [o for o in operations if o.number < before and o.name == "rename" and o.path.endswith("/last.ckpt")]
    return len(saved)


def list_trained_epochs(told: str) -> list[int]:
    return [int(number) for number in re.findall(r"^epoch +(\d+)/", told, re.MULTILINE)]


def name_file(operation: Operation) -> str:
    """Return a pattern of the file that an operation is about, by whatever part of its path a person knows it."""
    known = re.sub(r"^\.|\.\d+\.tmp$", "", os.path.basename(operation.path))
    return re.escape(known)


def read_files(folder: Path, ignored: str) -> dict[str, object]:
    """Return the content of a folder's files by their path, without what differs between two equal commands."""
    found: dict[str, object] = {}
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        if not file.is_file() or re.search(ignored, name) or file.name in TIMED:
            continue
        if file.name in ("results.json", "last.ckpt"):
            content = Left(file.parent if file.name == "results.json" else file.parents[1]).content
            found[name] = {part: value for part, value in content.items() if part != "config.yaml"}  # has the folder
        elif file.suffix in (".csv", ".html", ".md", ".tex", ".svg", ".png"):
            found[name] = None  # times and paths are in some
        else:
            found[name] = file.read_bytes().replace(str(folder).encode(), b"<folder>")
    return found
