"""Compare two networks: how large is the difference, and is it more than chance between trainings?

Where both have the same seeds these are paired, for both runs of a pair see the same order and crops of the images;
else all runs of both sides are compared by Welch. McNemar's test is about another question: whether two trained
networks, one of each side, err equally often on the test images.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.console import say
from ..errors import UserError
from ..files import write_json
from .claims import find_differences
from .defaults import format_value
from .groups import Group, collect_runs
from .predictions import read_arrays
from .result import Result, make_legible
from .statistics import compute_difference, compute_mcnemar_p, compute_paired_difference, summarize_values

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.95  # of the interval


@dataclass(frozen=True)
class Side:
    """One side of a comparison: its runs and numbers, and the settings in which it differs from the other side."""

    model: str
    data: str
    epochs: int
    n_train: int
    protocol: str
    settings_apart: dict[str, str]
    runs: list[str]
    stale: int
    failed: int
    looks: list[int]  # of seed=auto
    values: dict[str, float]  # by seed
    mean: float


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test on the test predictions of one seed; `n` counts all test images."""

    seed: int
    only_a_right: int
    only_b_right: int
    n: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """The difference A - B in the unit of the task's headline metric; its fields are the keys of the JSON file.

    `paired_seeds` are empty where Welch's test compares all runs of both sides.
    """

    a: Side
    b: Side
    metric: str
    unit: str
    lower_is_better: bool
    paired_seeds: list[int]
    difference: float
    interval: list[float] | None
    level: float
    p: float | None
    mcnemar: list[McNemar]


def compare(patterns: Sequence[str], out: Path | None = None) -> Comparison:
    """Compare the two groups of runs that the patterns match; say it on stderr, print JSON, and write it to `out`."""
    if len(patterns) != 2:
        raise UserError(f"compare=[{','.join(patterns)}]: two are needed; type compare=[A,B], two directories or globs")
    a, b = (collect_group(pattern) for pattern in patterns)
    for name in ("data", "task", "data_fingerprint"):
        if getattr(a, name) != getattr(b, name):
            raise UserError(
                f"compare: {patterns[0]} has {name} {getattr(a, name)} and {patterns[1]} has {getattr(b, name)}; "
                "only runs on the same data can be compared"
            )
    found = compare_groups(a, b)
    say(describe_comparison(found))
    print(json.dumps(asdict(found), indent=2))
    if out:
        write_json(out, asdict(found))
    return found


def collect_group(pattern: str) -> Group:
    """Collect the runs of a pattern, which must differ in their seed alone; UserError where they do not."""
    collected = collect_runs([pattern])
    for path, reason in collected.left_out:
        say(make_legible(f"Left out: {path}: {reason}"))
    if len(collected.groups) > 1:
        labels = [f"{group.title} {group.label}" for group in collected.groups]
        listed = "; ".join(labels[:6]) + ("; …" if len(labels) > 6 else "")
        raise UserError(
            f"compare: {pattern} matches {len(labels)} different configurations ({listed}); narrow it to one"
        )
    return collected.groups[0]


def compare_groups(a: Group, b: Group) -> Comparison:
    """Compute the difference of two groups: of pairs where both have the same seeds, else of all runs by Welch."""
    metric = a.headline
    scale = 100 if metric == "test/error" else 1
    sides = [{run.seed: scale * value for run in g.runs if (value := run.value(metric)) is not None} for g in (a, b)]
    if not all(sides):
        raise UserError(f"compare: {a.label if not sides[0] else b.label} has no {metric}")
    values_a, values_b = ([side[seed] for seed in sorted(side)] for side in sides)
    shared = sorted(sides[0].keys() & sides[1].keys())
    paired = sides[0].keys() == sides[1].keys() and len(shared) > 1
    if paired:
        difference = compute_paired_difference(values_a, values_b)
    else:
        difference = compute_difference(summarize_values(values_a), summarize_values(values_b))
    runs = [{run.seed: run for run in group.runs} for group in (a, b)]
    return Comparison(
        a=summarize_side(a, b, sides[0]),
        b=summarize_side(b, a, sides[1]),
        metric=metric,
        unit="points" if scale == 100 else "",
        lower_is_better=scale == 100,
        paired_seeds=shared if paired else [],
        difference=statistics.fmean(values_a) - statistics.fmean(values_b),
        interval=list(difference.compute_interval(LEVEL)) if difference else None,
        level=LEVEL,
        p=difference.p if difference else None,
        mcnemar=[test for seed in shared if (test := compare_predictions(runs[0][seed], runs[1][seed]))],
    )


def summarize_side(own: Group, other: Group, values: dict[int, float]) -> Side:
    """Summarize one side of a comparison."""
    names = sorted(find_differences(own, other))
    return Side(
        model=own.model,
        data=own.title,
        epochs=own.epochs,
        n_train=own.n_train,
        protocol=own.protocol,
        settings_apart={name: format_value(own.setting(name)) for name in names if own.setting(name) is not ...},
        runs=[str(run.path) for run in own.runs],
        stale=own.stale,
        failed=len(own.lost),
        looks=own.looks,
        values={str(seed): value for seed, value in values.items()},
        mean=statistics.fmean(values.values()),
    )


def compare_predictions(a: Result, b: Result) -> McNemar | None:
    """Compare the test predictions of two runs; None where one has none, or they are of different images."""
    import numpy as np

    of_a, of_b = (read_classes(run.path / "test_predictions.npz") for run in (a, b))
    if of_a is None or of_b is None:
        return None
    (index, label, first), (other_index, other_label, second) = of_a, of_b
    if not (np.array_equal(index, other_index) and np.array_equal(label, other_label)):
        return None
    only_a = int(((first == label) & (second != label)).sum())
    only_b = int(((first != label) & (second == label)).sum())
    return McNemar(a.seed, only_a, only_b, label.size, compute_mcnemar_p(only_a, only_b))


def read_classes(path: Path) -> "list[np.ndarray] | None":
    """Read the indices, labels and predicted classes of the test images; None where they are not of one class each.

    Raises UserError where the file is damaged.
    """
    try:
        found = read_arrays(path, "index", "label", "prediction")
    except UserError as error:
        raise UserError(f"{error}; delete it, and runs are compared without McNemar's test") from None
    return found if found and all(array.dtype.kind in "iu" for array in found) else None


def describe_comparison(found: Comparison) -> str:
    """Describe a comparison in a paragraph."""
    a, b = found.a, found.b
    names = [side.model + describe_settings(side) for side in (a, b)]
    what = "test error" if found.lower_is_better else "test mAP"
    digits = 2 if found.unit else 4
    unit = f" {found.unit}" if found.unit else ""
    test = f"{len(found.paired_seeds)} pairs of one seed" if found.paired_seeds else "Welch"
    if found.interval is None:
        effect = "no interval: neither side shows a spread, so the difference between trainings is not decided"
    else:
        low, high = found.interval
        effect = f"95 % interval {low:+.{digits}f} to {high:+.{digits}f}, {test}, p = {found.p:.2g}; "
        effect += describe_decision(low, high, lower_is_better=found.lower_is_better)
    sentences = [
        f"A - B = {found.difference:+.{digits}f}{unit} of {what} on {a.data} ({effect}).",
        *(
            f"{letter} ({name}) has {side.mean:.{digits}f} (n = {describe_count(side)})."
            for letter, name, side in zip("AB", names, (a, b), strict=True)
        ),
    ]
    if found.mcnemar:
        counts = [f"seed {test.seed} {test.only_a_right} and {test.only_b_right}" for test in found.mcnemar]
        sentences.append(
            f"Apart from that, of {found.mcnemar[0].n:,} test images only A's and only B's network has right: "
            f"{', '.join(counts)}; that compares two trained networks, not two recipes."
        )
    for name in ("epochs", "n_train", "protocol"):
        if getattr(a, name) != getattr(b, name):
            sentences.append(f"Mind that {name} is {getattr(a, name)} in A and {getattr(b, name)} in B.")
    if a.looks or b.looks:
        sentences.append("Mind that seed=auto chose the number of seeds by looking at them; this p takes it as fixed.")
    if a.stale or b.stale:
        sentences.append(f"Stale, of other code than today's: {a.stale} run(s) of A, {b.stale} of B.")
    return " ".join(sentences)


def describe_settings(side: Side) -> str:
    """Name the first few settings in which a side differs from the other."""
    names = [f"{name}={value}" for name, value in side.settings_apart.items() if not name.startswith("model.")]
    return "".join(f", {name}" for name in names[:4]) + (", …" if len(names) > 4 else "")


def describe_count(side: Side) -> str:
    """Write how many runs a side has, as in 5, or 3 of 5 where others failed."""
    n = len(side.values)
    return f"{n} of {n + side.failed}" if side.failed else str(n)


def describe_decision(low: float, high: float, *, lower_is_better: bool) -> str:
    """Say what the confidence interval of A - B decides."""
    if low <= 0 <= high:
        return "neither is shown to be better"
    return f"{'A' if (high < 0) == lower_is_better else 'B'} is better"
