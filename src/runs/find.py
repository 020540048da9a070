"""Find runs again: list those below a folder, and find the one that a person means by a short name.

Wherever a run is asked for, it is a path, or ``last``, ``best:<metric>``, or the first digits of its hash.
"""

import contextlib
import fcntl
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import Json, read_json, read_yaml_text
from ..text import quote, take_first_line
from .directory import ENDED
from .results import is_number, watch_metrics

OUTPUTS = "outputs"  # the default of output_root
HASH = re.compile(r"[0-9a-f]{3,10}")
HEADLINES = ("mask_map", "map", "accuracy")  # of a task, the first of these that a run has
LOWER_IS_BETTER = ("loss", "error", "ece", "nll", "brier")  # and what begins so


@dataclass(frozen=True)
class FoundRun:
    """A run directory as it is now. The state is finished, untested, failed, stopped, running or damaged."""

    path: Path
    state: str
    model: str = "?"
    data: str = "?"
    seed: int | None = None
    hash: str = ""
    epochs: int = 0  # that are done
    planned: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)  # of results.json, else of the last epoch
    best: float | None = None  # the best epoch's headline metric on the validation set
    began: float = 0.0  # when it was last started, or resumed [seconds since 1970]
    changed: float = 0.0  # [seconds since 1970]
    reason: str = ""  # why it failed

    @property
    def headline(self) -> str:
        """The name of the metric that it is judged by; "" where it has none yet."""
        return next((name for name in HEADLINES if {f"val/{name}", f"test/{name}"} & self.metrics.keys()), "")


def find_directories(root: Path) -> Iterator[Path]:
    """Yield the run directories at or below a folder."""
    for folder, inner, names in os.walk(root):
        if {"run.json", "results.json"} & set(names):
            inner.clear()  # a run's own folders hold no other run
            yield Path(folder)


def list_runs(root: str | Path = OUTPUTS) -> list[FoundRun]:
    """Return the runs below a folder, the one that was started last first."""
    return sorted(map(read_run, find_directories(Path(root).expanduser())), key=lambda run: -run.began)


def read_run(path: Path) -> FoundRun:
    """Read what a run directory tells of its run."""
    times = [when for name in ("run.json", "results.json", "metrics.csv") if (when := read_time(path / name))]
    began, changed = times[0], max(times)
    try:
        record, results = read_json(path / "run.json") or {}, read_json(path / "results.json") or {}
        status = results.get("status")
        config = {} if status in ENDED else read_config(path)  # which takes longer than all else
    except UserError as error:
        return FoundRun(path, "damaged", began=began, changed=changed, reason=str(error))
    state = "running" if is_held(path) else status if status in (*ENDED, "failed") else "stopped"
    rows = watch_metrics(path / "metrics.csv")
    own: Any = results.get("metrics")
    metrics = {**(rows[-1] if rows else {}), **(own if isinstance(own, dict) else {})}
    metrics = {name: value for name, value in metrics.items() if is_number(value)}
    run = FoundRun(
        path,
        state,
        model=str(results.get("model") or find(config, "model", "name") or "?"),
        data=str(results.get("data_title") or results.get("data") or find_data_name(config) or "?"),
        seed=seed if isinstance(seed := results.get("seed", config.get("seed")), int) else None,
        hash=str(record.get("config_hash") or results.get("config_hash") or ""),
        epochs=len(rows),
        planned=total
        if isinstance(total := results.get("epochs", find(config, "trainer", "max_epochs")), int)
        else None,
        metrics=metrics,
        best=None,
        began=began,
        changed=changed,
        reason=take_first_line(str(results.get("reason", ""))) if state == "failed" else "",
    )
    values = [row[name] for row in rows if (name := f"val/{run.headline}") in row]
    return FoundRun(**{**vars(run), "best": max(values) if values else None})


def read_time(path: Path) -> float:
    """Return when a file was last written; 0 where there is none."""
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def read_config(path: Path) -> Json:
    """Return the stored configuration as plain values, not checked; {} where there is none."""
    import yaml

    file = path / "config.yaml"
    if not file.exists():
        return {}
    try:
        content = yaml.load(read_yaml_text(file), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, TypeError):
        raise UserError(f"{file}: damaged") from None
    return content if isinstance(content, dict) else {}


def find(tree: object, *names: str) -> object:
    """Return a leaf of nested mappings; None where it is missing."""
    for name in names:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def find_data_name(config: Json) -> object:
    """Return the data set's name for people."""
    return find(config, "data", "title") or find(config, "data", "name")


def is_held(path: Path) -> bool:
    """Return whether a process is training this run."""
    try:
        with (path / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no file, or a file system without locks
        return False
    return False


def resolve_run(name: str, root: str | Path = OUTPUTS) -> Path:
    """Return the path of the run that a person means: a path as it is, or what a short name stands for.

    Raises UserError where a short name stands for no run, or for several.
    """
    path = Path(name).expanduser()
    if os.path.lexists(path) or not is_short_name(name):
        return path
    places = list(find_directories(Path(root).expanduser()))
    if not places:
        raise UserError(f"{name}: there is no run below {root}; python -m src.train makes one")
    if name == "last":
        return max(places, key=lambda place: read_time(place / "run.json"))
    if name.startswith("best"):
        return find_best(name, root).path
    found = [place for place in places if read_hash(place).startswith(name) or read_suffix(place).startswith(name)]
    if len(found) > 1:
        listed = ", ".join(map(str, found[:4]))
        raise UserError(f"{name}: begins the hash of {len(found)} runs ({listed}); type more of its digits")
    if not found:
        raise UserError(f"{name}: no run below {root} has a hash that begins so; python -m src.runs lists them")
    return found[0]


def read_hash(path: Path) -> str:
    """Return the hash of a run's configuration; "" where it is not known."""
    with contextlib.suppress(UserError):
        return str((read_json(path / "run.json") or {}).get("config_hash", ""))
    return ""


def read_suffix(path: Path) -> str:
    """Return the hash that the directory's name ends with: that of the run before `resume=…` changed it."""
    return path.name.rpartition("-")[2]


def is_short_name(name: str) -> bool:
    """Return whether this may stand for a run, and is no path."""
    return name in ("last", "best") or name.startswith("best:") or bool(HASH.fullmatch(name))


def find_best(name: str, root: str | Path) -> FoundRun:
    """Return the finished run with the best value of a metric, as in best:val/accuracy@digits.

    Raises UserError where no run has the metric, and where the runs are of several data sets.
    """
    metric, _, data = name.removeprefix("best").removeprefix(":").partition("@")
    ended = [run for run in list_runs(root) if run.state in ENDED]
    ended = require_runs([run for run in ended if data in ("", run.data)], name, root)
    known = dict.fromkeys(key for run in ended for key in run.metrics if key.startswith(("val/", "test/")))
    full = metric if "/" in metric else f"val/{metric}"
    having = [run for run in ended if full in run.metrics]
    if not having:
        raise UserError(f"run={name}: no run has {full}; type run=best:<metric> with one of: {', '.join(known)}")
    if len(sets := sorted({run.data for run in having})) > 1:
        raise UserError(
            f"run={name}: these runs are of {len(sets)} data sets, whose numbers cannot be compared; type "
            + " or ".join(f"best:{metric}@{each}" for each in sets[:4])
        )
    lower = full.partition("/")[2].startswith(LOWER_IS_BETTER)
    return (min if lower else max)(having, key=lambda run: run.metrics[full])


def require_runs(runs: list[FoundRun], name: str, root: str | Path) -> list[FoundRun]:
    """Return these runs; raise UserError where there is none."""
    if not runs:
        raise UserError(f"{name}: there is no such run below {root}; python -m src.runs lists those that are there")
    return runs


def resolve_words(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return the words of a command line with paths in place of the short names that these settings have.

    That is done once and before anything else: for the jobs of a sweep and for the processes of a run, `last` would
    soon be another one. Raises UserError as resolve_run does.
    """
    roots = [word.split("=", 1)[1].strip("'\"") for word in words if word.startswith("output_root=")]
    root = roots[-1] if roots else OUTPUTS
    out = []
    for word in words:
        key, _, value = word.partition("=")
        if key in keys and any(map(is_short_name, value.split(","))):
            value = ",".join(quote_path(resolve_run(name, root)) for name in value.split(","))
        out.append(f"{key}={value}" if key in keys else word)
    return out


def quote_path(path: Path) -> str:
    """Return a path as Hydra's grammar takes it, quoted where that is needed."""
    return str(path) if re.fullmatch(r"[\w/.-]+", str(path), re.ASCII) else quote(path)


def resolve_many(names: Iterable[str]) -> list[str]:
    """Return paths and globs as they are, and the paths of what short names stand for."""
    return [str(resolve_run(name)) if is_short_name(name) else name for name in names]


def resolve_runs(value: str) -> Sequence[Path]:
    """Return the runs that [A,B], a glob, a path or a short name names; raise UserError where one matches none."""
    inner = value[1:-1].split(",") if value.startswith("[") and value.endswith("]") else [value]
    found: list[Path] = []
    for word in filter(None, (part.strip() for part in inner)):
        path = str(resolve_run(word))
        matches = [path]
        if glob.has_magic(path) and not os.path.exists(path):
            matches = [each for each in sorted(glob.glob(path)) if each.endswith(".ckpt") or holds_results(each)]
        if not matches:
            raise UserError(f"run={word}: matches no finished run")
        found += map(Path, matches)
    if not found:
        raise UserError(f"run={value}: names no run")
    return found


def holds_results(path: str) -> bool:
    """Return whether this is the directory of a run that has ended."""
    return os.path.isfile(os.path.join(path, "results.json"))
