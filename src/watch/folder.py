"""Look at the runs of a folder again and again, and read only what has changed.

Each run has an entry, which the page shows: plain values for JSON. A run that cannot be read has one, too, with the
reason. An entry that changes gets a new version, so that a page asks for what is newer than it has.
"""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..files import Json
from ..report.result import make_legible
from ..runs.directory import ENDED
from ..runs.find import FoundRun, find_directories, is_held, read_run
from ..runs.results import Row, read_metrics

PAUSE = 0.5  # seconds between two looks at the disk, however many pages ask
FILES = ("run.json", "results.json", "metrics.csv", "config.yaml")
MOST_BYTES = 1 << 26  # of such a file; a run writes some thousands
MOST_RUNS = 2000
MOST_POINTS = 60  # of a curve in the overview


@dataclass
class Seen:
    """A run as it was read last: its stamp, the entry of the page, and what an early verdict needs of metrics.csv."""

    path: Path
    stamp: object
    run: FoundRun
    entry: Json
    rows: Sequence[Row] = ()
    version: int = 0
    extra: Json = field(default_factory=dict)  # what was added after reading: settings and the early verdict

    @property
    def readable(self) -> bool:
        return self.run.state != "damaged"


class Folder:
    """All runs at or below a folder. Its methods may be called from several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.version = 0  # of the newest change
        self.seen: dict[str, Seen] = {}  # by id, the run that was started last first
        self.left_out = 0  # runs beyond MOST_RUNS
        self.lock = threading.RLock()
        self._looked = float("-inf")

    def look(self) -> None:
        """Read what has changed since the last look, which is PAUSE seconds old at least."""
        with self.lock:
            if time.monotonic() - self._looked < PAUSE:
                return
            places = {name_run(path): path for path in find_directories(self.root)}
            self.left_out = max(0, len(places) - MOST_RUNS)
            kept = dict(list(places.items())[:MOST_RUNS])
            if kept.keys() != self.seen.keys():
                self.version += 1
            seen = {number: self._read(number, path) for number, path in kept.items()}
            self.seen = dict(sorted(seen.items(), key=lambda item: -item[1].run.began))
            self._looked = time.monotonic()

    def update(self, number: str, extra: Json) -> None:
        """Add to a run's entry what others have found out; it gets a new version where that is another."""
        with self.lock:
            seen = self.seen.get(number)
            if seen is not None and seen.extra != extra:
                self.version += 1
                seen.extra, seen.version = extra, self.version

    def _read(self, number: str, path: Path) -> Seen:
        before = self.seen.get(number)
        stamp = read_stamp(path)
        ended = before is not None and before.run.state in (*ENDED, "failed", "damaged")
        if before and stamp == before.stamp and (ended or is_held(path) == (before.run.state == "running")):
            return before
        self.version += 1
        run, rows, problem = read_carefully(path, stamp)
        entry = make_entry(run, rows, problem, self.root)
        names = ("epoch", f"val/{run.headline}", f"train/{run.headline}", "val/loss")
        slim = [{name: row[name] for name in names if name in row} for row in rows]
        return Seen(path, stamp, run, entry, slim, self.version, before.extra if before else {})


def name_run(path: Path) -> str:
    """Return the id by which a page asks for a run: no path is ever taken from it."""
    return hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:16]


def read_stamp(path: Path) -> tuple[tuple[int, int, int, int] | None, ...]:
    """Return what changes with the files of a run: kind, size, time and inode of each."""

    def read(name: str) -> tuple[int, int, int, int] | None:
        try:
            found = os.stat(path / name)
        except OSError:
            return None
        return (stat.S_IFMT(found.st_mode), found.st_size, found.st_mtime_ns, found.st_ino)

    return tuple(map(read, FILES))


def read_carefully(path: Path, stamp: Sequence[tuple[int, int, int, int] | None]) -> tuple[FoundRun, list[Row], str]:
    """Read a run, and say what of it cannot be read; nothing that lies in a folder of runs ends the page."""
    for name, found in zip(FILES, stamp, strict=True):
        if found and found[0] != stat.S_IFREG:  # a pipe would keep its reader waiting for ever
            return FoundRun(path, "damaged", reason=f"{name}: is no file"), [], f"{name}: is no file"
        if found and found[1] > MOST_BYTES:
            reason = f"{name}: has {found[1]:,} bytes, which no run writes"
            return FoundRun(path, "damaged", reason=reason), [], reason
    try:
        run = read_run(path)
    except (Exception, RecursionError) as error:  # whatever was written there by others
        return FoundRun(path, "damaged", reason=f"cannot be read ({type(error).__name__})"), [], ""
    try:
        return run, list(read_metrics(path / "metrics.csv")), ""
    except UserError as error:
        return run, [], str(error).removeprefix(f"{path}/")


def make_entry(run: FoundRun, rows: Sequence[Row], problem: str, root: Path) -> Json:
    """Make what the page shows of a run."""
    metric = f"val/{run.headline}" if run.headline else ""
    curve = [(row["epoch"], row[metric]) for row in rows if metric in row and "epoch" in row]
    reason = run.reason.removeprefix(f"{run.path}/") or problem
    return {
        "place": make_legible(os.fsencode(os.path.relpath(run.path, root)).decode(errors="replace")),
        "state": run.state,
        "model": make_legible(run.model)[:80],
        "data": make_legible(run.data)[:80],
        "seed": run.seed,
        "epochs": run.epochs,
        "planned": run.planned,
        "metric": run.headline,
        "now": curve[-1][1] if curve else None,
        "best": run.best,
        "test": run.metrics.get(f"test/{run.headline}") if run.state == "finished" else None,
        "changed": run.changed,
        "curve": thin_out(curve, MOST_POINTS),
        "reason": make_legible(reason)[:300],
    }


def thin_out(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Return about `most` points of a curve, with its first and its last."""
    step = max(1, -(-len(points) // most))
    kept = list(points[::step])
    return [(x, float(f"{y:.5g}")) for x, y in (kept if not points or kept[-1] == points[-1] else [*kept, points[-1]])]
