"""The content of results.json, and the rows of metrics.csv, one an epoch."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UserError
from ..files import Json, read_csv, write_rows

Results = Json  # numbers and words, and "metrics", "time" and "environment" by name
Row = Mapping[str, float]  # of an epoch, by the names of metrics.csv

REQUIRED: dict[str, type] = {  # the keys that every ended run's results.json holds, and their types
    "model": str,
    "data": str,
    "task": str,
    "protocol": str,
    "seed": int,
    "epochs": int,
    "params": int,
    "n_train": int,
    "n_val": int,
    "n_test": int,
    "config_hash": str,
    "code_hash": str,
    "metrics": dict,
    "time": dict,
}
DIVERGED = "The loss is no longer a finite number"  # so begins the reason of a run that has diverged
LARGEST = 1e100  # of a number that can still be squared and added


def find_damage(results: Results) -> str:
    """Return what is wrong with the results.json of an ended run; "" where nothing is."""
    for key, kind in REQUIRED.items():
        if not isinstance(results.get(key), kind) or isinstance(results[key], bool):
            return f"{key} is {'wrong' if key in results else 'missing'}"
    numbers = {key: value for key, value in results.items() if REQUIRED.get(key) is int}
    numbers |= {"peak_memory_bytes": results.get("peak_memory_bytes", 0)}
    numbers |= results["metrics"] | {f"time/{key}": value for key, value in results["time"].items()}
    if odd := next((key for key, value in numbers.items() if value is not None and not is_number(value)), None):
        return f"{odd} is no possible number"
    if not isinstance(results.get("environment", {}), dict):
        return "environment is wrong"
    if results["protocol"] not in ("last", "best_val"):
        return f"protocol={results['protocol'][:20]} is unknown"
    return "" if is_number(results["time"].get("fit_seconds")) else "time/fit_seconds is missing"


def is_number(value: object) -> bool:
    """Return whether this is a number that can be counted with: no bool, not NaN, not astronomically large."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def write_metrics(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows of metrics.csv; without any, there is no such file."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    write_rows(path, [names, *([row.get(name, "") for name in names] for row in rows)])


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv, one an epoch, without an incomplete last line; [] where there is no file.

    Raises UserError for a damaged file.
    """
    names, *lines = read_csv(path, cut=True) or [[]]
    rows: list[dict[str, float]] = []
    for number, line in enumerate(lines, 2):
        try:
            row = {name: float(value) for name, value in zip(names, line, strict=True) if value}
            rows.append(row | {name: int(row[name]) for name in ("epoch", "step") if name in row})
        except (ValueError, OverflowError):
            raise UserError(f"{path}: damaged (line {number} is no row of numbers)") from None
    return rows


def watch_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv of another process, or [] while a shared file system fails."""
    with contextlib.suppress(UserError):
        return read_metrics(path)
    return []
