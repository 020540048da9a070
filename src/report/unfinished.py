"""Tabulate the runs that have not finished, with the range that each of them is foretold to end in (early.py)."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError
from ..runs.results import watch_metrics
from .defaults import find_nested
from .early import EARLY, MISSED, Curve, choose_metric, identify_recipe, predict_final
from .entries import Entry, Line, View
from .groups import Group
from .published import Column
from .result import read_config

COLUMNS = (
    Column("now", "now", better="none", digits=4),
    Column("low", "will end from", better="none", digits=4),
    Column("high", "to", better="none", digits=4),
    Column("n", "by finished runs", better="none", digits=0),
)


NOTE = (
    f"Early verdict: about {1 - MISSED:.0%} of such ranges hold the figure of the last epoch. They come from the first "
    f"{EARLY:.0%} of the epochs, and from what finished runs of the same recipe, other seeds, did after theirs "
    "(docs/health.md)"
)


def build_early_view(groups: Iterable[Group], left_out: Iterable[tuple[Path, str]]) -> View | None:
    """Build the table of unfinished runs, as far as enough finished ones of their recipe are known; None for none."""
    finished: dict[str, list[Curve]] = {}
    for group in groups:
        if group.runs[0].config:
            curves = finished.setdefault(identify_recipe(group.runs[0].config), [])
            curves += [run.history for run in group.runs]
    lines = [line for path, _ in left_out if finished and (line := make_line(path, finished))]
    return (
        View("Early verdict", ["model", "data", "seed", "epoch", "figure"], COLUMNS, lines, [NOTE]) if lines else None
    )


def make_line(path: Path, finished: dict[str, list[Curve]]) -> Line | None:
    """Make the row of an unfinished run; None where it is no such run, or nothing can be said of it."""
    if (path / "results.json").exists():
        return None
    try:
        config = read_config(path / "config.yaml")
    except UserError:
        return None
    curves = finished.get(identify_recipe(config), []) if config else []
    rows, epochs = watch_metrics(path / "metrics.csv"), find_nested(config, "trainer.max_epochs")
    if not curves or not isinstance(epochs, int):
        return None
    metric = choose_metric(config)
    band = predict_final(curves, rows, epochs=epochs, metric=metric)
    if band is None:
        return None
    values = (rows[-1][metric], band.low, band.high, band.n)
    entries = [Entry(column, [value]) for column, value in zip(COLUMNS, values, strict=True)]
    names = [str(find_nested(config, name)) for name in ("model.name", "data.name", "seed")]
    return Line([*names, f"{len(rows)} of {epochs}", metric], None, entries)
