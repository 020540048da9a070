"""The content of results.json, and the rows of metrics.csv, one an epoch."""

import contextlib
import csv
from pathlib import Path

from ..files import Json, write_rows

Results = Json  # numbers and words, and "metrics", "time" and "environment" by name


DIVERGED = "The loss is no longer a finite number"  # so begins the reason of a run that has diverged


def append_metrics(path: Path, row: dict[str, float]) -> None:
    """Add a row to metrics.csv, under a header where the file is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def cut_metrics(path: Path, epochs: int) -> None:
    """Keep the rows of the first `epochs` epochs; a resumed run writes the others again."""
    rows = [row for row in read_metrics(path) if row["epoch"] <= epochs]
    if not rows:
        path.unlink(missing_ok=True)
        return
    whole = [{k: int(v) if k in ("epoch", "step") else v for k, v in row.items()} for row in rows]
    write_rows(path, [list(rows[0]), *(list(row.values()) for row in whole)])


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv, one an epoch, without an incomplete last line; [] where there is no file."""
    rows = []
    with contextlib.suppress(FileNotFoundError):
        for row in csv.DictReader(path.read_text().rpartition("\n")[0].splitlines()):
            with contextlib.suppress(TypeError, ValueError):
                rows.append({key: float(value) for key, value in row.items()})
    return rows


def watch_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv of another process, or [] while a shared file system fails."""
    try:
        return read_metrics(path)
    except OSError:
        return []
