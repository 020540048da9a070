"""Foretell where a run will end from its first epochs, by what finished runs of the same recipe did after theirs.

  python -m src.report.early runs=<glob> [out=<file.csv>]     measure the bands on finished runs, and keep their curves
  python -m src.report.early curves=<file.csv>                measure them on such a file

The band is CV+ (Barber et al. 2021): a ridge regression on the first epochs' figures, and its errors on runs that it
has not seen. Where runs are exchangeable, as the seeds of one recipe are, about 90 % of the bands hold the end, and
72 % are proven to; docs/health.md has the figures. Trials of a search are not exchangeable.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.main import main, print_help
from ..errors import UserError
from ..files import read_json, write_rows
from ..runs.results import watch_metrics
from ..tasks.table import find_task_row
from ..text import natural_sort_key
from .defaults import find_nested, select_settings
from .result import find_run_directories, read_config, read_csv

if TYPE_CHECKING:
    import numpy as np

EARLY = 0.3  # the fraction of its epochs that a run is judged by


MISSED = 0.1  # of the bands


LEAST = 60  # finished runs that a band is made from


LEAST_TRIALS = 10  # of a search, for its rule of thumb


FOLDS = 10


SHRINKAGE = 1.0  # of the ridge regression's slopes, in standard deviations


SPLITS = 1000  # of the finished runs, to measure how many bands hold the end


Curve = Sequence[Mapping[str, float]]  # the rows of metrics.csv


@dataclass(frozen=True)
class Band:
    """The range that a run's last epoch is foretold to lie in, and how many finished runs say so."""

    low: float
    high: float
    n: int


def identify_recipe(config: Mapping[str, object]) -> str:
    """Return a text that two configurations share where they differ in nothing but the seed."""
    model = str(find_nested(config, "model.name"))
    names = ("data.name", "task.name", "model.name", "protocol", "trainer.max_epochs")
    settings = {name: str(value) for name, value in select_settings(config, model).items()}
    return repr(sorted((settings | {name: str(find_nested(config, name)) for name in names}).items()))


def choose_metric(config: Mapping[str, object]) -> str:
    """Return the validation metric that a configuration's task is judged by."""
    return f"val/{find_task_row(str(find_nested(config, 'task.name'))).headline}"


def count_early_epochs(epochs: int) -> int:
    """Return how many epochs a run is judged by; 0 for a run of too few."""
    return math.floor(EARLY * epochs + 1e-9)


def predict_final(
    finished: Iterable[Curve], curve: Curve, *, epochs: int, metric: str, least: int = LEAST
) -> Band | None:
    """Predict the metric at the last of a run's epochs from its early ones.

    None where it has too few epochs behind it, or fewer than `least` finished runs are known.
    """
    first = count_early_epochs(epochs)
    whole = [c for c in finished if len(c) == epochs and math.isfinite(c[-1].get(metric, math.nan))]
    if not 0 < first <= len(curve) or len(whole) < least:
        return None
    import numpy as np

    features, ends = describe_curves([*whole, curve], first, metric), np.array([c[-1][metric] for c in whole])
    if not np.isfinite(features).all():
        return None
    low, high = compute_bands(features[:-1], ends, features[-1:])
    return Band(float(low[0]), float(high[0]), len(whole))


def describe_curves(curves: Sequence[Curve], first: int, metric: str) -> "np.ndarray":
    """Describe the first epochs of each curve by a few numbers, float64 [N, F]; NaN where a number is missing.

    They are the metric at the last of them and its mean, the same of the training, and the loss.
    """
    import numpy as np

    train = metric.replace("val/", "train/")
    table = []
    for curve in curves:
        rows = curve[:first]
        own = [row.get(metric, math.nan) for row in rows]
        loss = rows[-1].get("val/loss", math.nan)
        table.append([own[-1], sum(own) / first, rows[-1].get(train, 0.0), math.log(loss) if loss > 0 else 0.0])
    return np.array(table)


def compute_bands(features: "np.ndarray", ends: "np.ndarray", wanted: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Compute CV+ bands [M] for the rows of `wanted` [M, F] from known `features` [N, F] and `ends` [N].

    Each known run gives its error in a regression without its fold, around what that regression says of the wanted one.
    """
    import numpy as np

    n, fold = len(ends), np.arange(len(ends)) % FOLDS
    said, errors = np.empty((n, len(wanted))), np.empty(n)
    for k in range(FOLDS):
        own = fold == k
        said[own] = fit_ridge(features[~own], ends[~own], wanted)
        errors[own] = np.abs(ends[own] - fit_ridge(features[~own], ends[~own], features[own]))
    low, high = np.sort(said - errors[:, None], axis=0), np.sort(said + errors[:, None], axis=0)
    below, above = math.floor(MISSED * (n + 1)), math.ceil((1 - MISSED) * (n + 1))
    return np.clip(low[below - 1], 0, 1), np.clip(high[above - 1], 0, 1)


def fit_ridge(features: "np.ndarray", ends: "np.ndarray", wanted: "np.ndarray") -> "np.ndarray":
    """Fit a ridge regression on standardised features, and return what it says of the rows of `wanted`."""
    import numpy as np

    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1)
    x = (features - mean) / scale
    slopes = np.linalg.solve(x.T @ x + SHRINKAGE * np.eye(x.shape[1]), x.T @ (ends - ends.mean()))
    return ends.mean() + (wanted - mean) / scale @ slopes


def collect_finished(folder: Path, recipe: str) -> list[Curve]:
    """Read the curves of a recipe's finished runs, whose directories lie in one folder; damaged ones are left out."""
    curves: list[Curve] = []
    for file in sorted(folder.glob("*/results.json"), key=lambda file: natural_sort_key(str(file))):
        try:
            finished = (read_json(file) or {}).get("status") == "finished"
            if finished and identify_recipe(read_config(file.with_name("config.yaml"))) == recipe:
                curves.append(watch_metrics(file.with_name("metrics.csv")))
        except UserError:
            continue
    return curves


@dataclass(frozen=True)
class Coverage:
    """How many bands held the end, over many splits of finished runs, and how wide they were on average.

    `spread` is the width of the middle 90 % of all ends: what is known before the first epoch.
    """

    covered: float
    width: float
    spread: float
    n: int


def measure_coverage(curves: Sequence[Curve], metric: str, n: int = LEAST) -> Coverage:
    """Make bands from `n` random curves and try them on the others, SPLITS times. UserError for too few curves."""
    if len(curves) <= n:
        raise UserError(f"{len(curves)} finished runs of this recipe: more than {n} are needed, to have some to try on")
    import numpy as np

    first = count_early_epochs(len(curves[0]))
    features, ends = describe_curves(curves, first, metric), np.array([curve[-1][metric] for curve in curves])
    random_state, covered, width = np.random.RandomState(0), 0.0, 0.0
    for _ in range(SPLITS):
        order = random_state.permutation(len(curves))
        known, others = order[:n], order[n:]
        low, high = compute_bands(features[known], ends[known], features[others])
        covered += float(((low <= ends[others]) & (ends[others] <= high)).mean()) / SPLITS
        width += float((high - low).mean()) / SPLITS
    below, above = np.quantile(ends, [MISSED / 2, 1 - MISSED / 2])
    return Coverage(covered, width, float(above - below), len(curves))


def answer() -> int:
    """Do what the command line asks for and return the exit status."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    options = dict(word.split("=", 1) for word in words if "=" in word)
    if len(options) < len(words) or options.keys() not in ({"runs"}, {"runs", "out"}, {"curves"}):
        raise UserError(f"{' '.join(words)}: type runs=<glob> [out=<file.csv>], or curves=<file.csv>")
    if "curves" in options:
        metric, curves = read_curves(Path(options["curves"]))
    else:
        metric, curves = collect_curves(options["runs"])
        if "out" in options:
            write_curves(Path(options["out"]), metric, curves)
    print(describe_coverage(measure_coverage(curves, metric), metric, len(curves[0])))
    return 0


def describe_coverage(found: Coverage, metric: str, epochs: int) -> str:
    """Describe a measurement in a sentence."""
    return (
        f"{found.covered:.1%} of the {1 - MISSED:.0%} bands hold {metric} of the last of {epochs} epochs "
        f"(bands from {LEAST} of {found.n} runs, tried on the others, {SPLITS:,} splits); after "
        f"{count_early_epochs(epochs)} epochs they are {found.width:.4f} wide, where the middle "
        f"{1 - MISSED:.0%} of all runs' ends are {found.spread:.4f} apart"
    )


def collect_curves(pattern: str) -> tuple[str, list[Curve]]:
    """Collect the curves of one recipe's finished runs, and its metric; UserError where there are several recipes."""
    found: dict[str, list[Curve]] = {}
    metric = ""
    for path in sorted(find_run_directories([pattern]), key=lambda path: natural_sort_key(str(path))):
        try:
            config = read_config(path / "config.yaml")
            finished = (read_json(path / "results.json") or {}).get("status") == "finished"
        except UserError:
            continue
        curve = watch_metrics(path / "metrics.csv")
        if finished and config and len(curve) == find_nested(config, "trainer.max_epochs"):
            metric = choose_metric(config)
            found.setdefault(identify_recipe(config), []).append(curve)
    if len(found) != 1:
        raise UserError(f"runs={pattern}: finished runs of one recipe are needed, there are {len(found)} recipes")
    return metric, next(iter(found.values()))


def write_curves(path: Path, metric: str, curves: Sequence[Curve]) -> None:
    """Write what a band needs of some curves to a CSV file, a row an epoch."""
    names = [metric, metric.replace("val/", "train/"), "val/loss"]
    rows = [
        [i, int(row["epoch"]), *(f"{row.get(name, math.nan):.5g}" for name in names)]
        for i, curve in enumerate(curves)
        for row in curve
    ]
    write_rows(path, [["run", "epoch", *names], *rows])


def read_curves(path: Path) -> tuple[str, list[Curve]]:
    """Read the curves of a CSV file and the name of their metric; UserError where it is none of ours."""
    lines = read_csv(path)
    try:
        (_, _, *names), curves = lines[0], dict[str, list[dict[str, float]]]()
        for run, epoch, *values in lines[1:]:
            row = {"epoch": float(epoch), **{name: float(v) for name, v in zip(names, values, strict=True)}}
            curves.setdefault(run, []).append(row)
        return names[0], list(curves.values())
    except (ValueError, IndexError):
        raise UserError(f"curves={path}: no such file, or not one that out= has written") from None


if __name__ == "__main__":
    main(answer)
