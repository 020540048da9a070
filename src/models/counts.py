"""Count the parameters and multiply-adds of the registered networks, and keep the counts until the code changes.

They lie in the user's cache, under the hash of the sources of networks; what is wrong there is counted anew. Importing
this file imports no torch.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..cli.console import clear_step, show_step
from ..config.model import ModelConfig
from ..data.info import DatasetInfo
from ..files import write_atomic
from .build import build_model

TEN_CLASSES = DatasetInfo(
    name="ten classes",
    classes=tuple("0123456789"),
    channels=3,
    image_size=32,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
Counts = dict[str, tuple[int, int]]  # parameters and multiply-adds, by the name of the network
LARGEST = 1 << 20  # bytes of a file of counts, which has some thousands


def count_networks(selected: Iterable[ModelConfig]) -> Iterator[tuple[int, int]]:
    """Yield the parameters and multiply-adds of each of these rows, for ten classes at its native size.

    Those that had to be counted are kept for the next time.
    """
    path = locate_counts()
    known = read_counts(path)
    before = len(known)
    try:
        for row in selected:
            if row.name not in known:
                known[row.name] = measure_network(row)
            yield known[row.name]
    finally:
        if len(known) > before:
            keep_counts(path, known)


def measure_network(row: ModelConfig) -> tuple[int, int]:
    """Return the parameters and multiply-adds of the row's network for ten classes, at its native size."""
    show_step(f"counting {row.name}")
    import torch

    from .complexity import count_macs, count_parameters

    with torch.device("meta"):
        model = build_model(row, TEN_CLASSES)
    counted = count_parameters(model), count_macs(model, TEN_CLASSES.channels, row.native_size)
    clear_step()
    return counted


def locate_counts() -> Path:
    """Return the file of the counts of today's code, which may not exist."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return home / "deep-residual-learning" / f"counts-{hash_networks()}.json"


@functools.cache
def hash_networks() -> str:
    """Return ten hexadecimal digits of the sources of the networks and their registry."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(path for room in ("models", "zoo") for path in (root / room).rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:10]


def read_counts(path: Path) -> Counts:
    """Read a file of counts; what is missing, damaged or no pair of counts is left out."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    pairs = {name: pair for name, pair in content.items() if isinstance(pair, list) and len(pair) == 2}
    return {name: (pair[0], pair[1]) for name, pair in pairs.items() if all(type(n) is int and n > 0 for n in pair)}


def keep_counts(path: Path, counts: Counts) -> None:
    """Write a file of counts; where that is not possible, they are counted again the next time."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(counts).encode())
