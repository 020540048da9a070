"""Write what probes have found: a figure and a CSV file of all networks, and the same of each run in its directory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...files import write_atomic, write_rows
from .base import Drawn, Options
from .canvas import draw_figure
from .table import PROBES
from .work import Job, read_found

FOLDER = "probes"  # of a run directory


def collect(jobs: Sequence[Job]) -> list[tuple[Job, Drawn]]:
    """Return what was found of each network, and one of its jobs, for those of which all parts are there."""
    together: dict[object, list[Job]] = {}
    for job in jobs:
        together.setdefault(job.target, []).append(job)
    found = []
    for several in together.values():
        if (content := read_found(several)) is not None:
            target = several[0].target
            found.append((several[0], Drawn(target.label, target.at, content)))
    return found


def write_probe(name: str, options: Options, jobs: Sequence[Job], out: Path) -> Iterator[Path]:
    """Write a probe's figure and table below `out` and in the runs' directories; yield the figures' paths."""
    found = collect([job for job in jobs if job.probe == name])
    if not found:
        return
    runs = dict.fromkeys(job.target.run for job, _ in found if job.target.run)
    for run in runs:
        yield write_figure(name, options, [each for job, each in found if job.target.run == run], Path(run) / FOLDER)
    yield write_figure(name, options, [each for _, each in found], out)


def write_figure(name: str, options: Options, drawn: Sequence[Drawn], folder: Path) -> Path:
    """Write a figure as SVG, with its numbers as CSV; return its path."""
    probe = PROBES[name]
    rows = build_rows(drawn)
    figure = draw_figure(probe, drawn, options, rows)
    folder.mkdir(parents=True, exist_ok=True)
    stem = probe.name_files(options)
    write_rows(folder / f"{stem}.csv", rows)
    path = folder / f"{stem}.svg"
    write_atomic(path, figure.standalone.encode())
    return path


def build_rows(drawn: Sequence[Drawn]) -> list[list[object]]:
    """Return the rows of a CSV file, its head first."""
    names = list(drawn[0].found.rows[0]) if drawn[0].found.rows else []
    rows: list[list[object]] = [["network", "at", *names]]
    rows += [
        [each.label, each.at, *(write_cell(row[name]) for name in names)] for each in drawn for row in each.found.rows
    ]
    return rows


def write_cell(value: Any) -> object:
    """Write a number with six digits, and a missing one as nothing."""
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else value
