"""Show one run: all its curves, and the end of its log."""

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..files import Json
from ..report.result import make_legible
from ..runs.results import Row, watch_metrics
from .folder import Seen, thin_out

TAIL = 1 << 14  # bytes of a log that are read
LINES = 60  # of a log that are shown
MOST_CURVES = 24
MOST_POINTS = 300


def make_details(seen: Seen, have: int) -> Json:
    """Make the details of a run; its curves only where the page has another version than `have`."""
    details: Json = {"version": seen.version, "log": read_tail(find_log(seen.path))}
    if have != seen.version:
        details["curves"] = collect_curves(watch_metrics(seen.path / "metrics.csv")) if seen.readable else {}
    return details


def collect_curves(rows: Sequence[Row]) -> Json:
    """Return the points of each column of a metrics.csv by its name, such as val/accuracy."""
    names = list(dict.fromkeys(name for row in rows for name in row if "/" in name))[:MOST_CURVES]
    finite = float("inf")
    curves = {
        name: [(row["epoch"], row[name]) for row in rows if "epoch" in row and abs(row.get(name, finite)) < finite]
        for name in names
    }
    return {make_legible(name)[:60]: thin_out(points, MOST_POINTS) for name, points in curves.items() if points}


def find_log(path: Path) -> Path:
    """Return where a sweep writes what a run prints."""
    return path.with_name(f"{path.name}.log")


def read_tail(path: Path) -> list[str]:
    """Return the last lines of a log, of a bar only its newest state; [] where there is no such file.

    A link is not followed, and a pipe is not waited for: what lies beside a run may be of others.
    """
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(file, "rb") as log:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                return []
            log.seek(max(0, found.st_size - TAIL))
            text = log.read(TAIL).decode(errors="replace")
        lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
        kept = lines[found.st_size > TAIL :]  # the first one may begin anywhere
        return [make_legible(line)[:400] for line in kept if line.strip()][-LINES:]
    return []
