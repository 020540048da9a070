"""Two networks on the same seeds: is the difference more than chance?

Seeds are paired, for a pair shares its images' order and crops; on one seed's test images McNemar's test asks whether
the two networks err equally often.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cli.console import say
from ..errors import UserError
from ..files import write_json
from .claims import apart_in
from .groups import Group, collect, told_value
from .result import Result, legible
from .verdict import ORDER_LEVEL, difference, interval, mcnemar

UNLIKELY = 0.05


def compare(patterns: Sequence[str], out: Path | None = None) -> dict[str, Any]:
    """Compare the two groups of runs that the patterns match: a paragraph on stderr, JSON on stdout (and in `out`)."""
    if len(patterns) != 2:
        raise UserError(f"compare=[{','.join(patterns)}]: two are needed, compare=[A,B]")
    a, b = (only_group(pattern) for pattern in patterns)
    for name in ("data", "task", "data_fingerprint"):
        if getattr(a, name) != getattr(b, name):
            raise UserError(
                f"compare: {patterns[0]} has {name} {getattr(a, name)} and {patterns[1]} has {getattr(b, name)}; "
                "only runs on the same data can be compared"
            )
    found = facts(a, b)
    say(in_words(found))
    print(json.dumps(found, indent=2))
    if out:
        write_json(out, found)
    return found


def only_group(pattern: str) -> Group:
    """The runs of a pattern, which must differ in their seed alone; UserError where there are others among them."""
    collected = collect([pattern])
    for path, reason in collected.left_out:
        say(legible(f"Left out: {path}: {reason}"))
    if len(collected.groups) > 1:
        labels = [f"{group.data} {group.label}" for group in collected.groups]
        listed = "; ".join(labels[:6]) + ("; …" if len(labels) > 6 else "")
        raise UserError(
            f"compare: {pattern} matches {len(labels)} different configurations ({listed}); narrow it to one"
        )
    return collected.groups[0]


def facts(a: Group, b: Group) -> dict[str, Any]:
    """What is known of the difference A - B, in the unit of the number that the task is judged by."""
    metric = a.headline
    scale = 100 if metric == "test/error" else 1
    sides = [{run.seed: scale * value for run in g.runs if (value := run.value(metric)) is not None} for g in (a, b)]
    if not all(sides):
        raise UserError(f"compare: {a.label if not sides[0] else b.label} has no {metric}")
    shared = sorted(sides[0].keys() & sides[1].keys())
    if shared:
        differences = [sides[0][seed] - sides[1][seed] for seed in shared]
        mean, bounds = statistics.fmean(differences), interval(differences, ORDER_LEVEL)
    else:
        values_a, values_b = (list(side.values()) for side in sides)
        mean, bounds = statistics.fmean(values_a) - statistics.fmean(values_b), difference(values_a, values_b)
    runs = [{run.seed: run for run in group.runs} for group in (a, b)]
    tests = [test for seed in shared if (test := mcnemar_of(runs[0][seed], runs[1][seed]))]
    return {
        "a": side_facts(a, b, sides[0]),
        "b": side_facts(b, a, sides[1]),
        "metric": metric,
        "unit": "points" if scale == 100 else "",
        "lower_is_better": scale == 100,
        "paired_seeds": shared,
        "difference": mean,
        "interval": list(bounds) if bounds else None,
        "level": ORDER_LEVEL,
        "mcnemar": tests,
    }


def side_facts(own: Group, other: Group, values: dict[int, float]) -> dict[str, Any]:
    """One side: its runs and numbers, and the settings that the other side has otherwise."""
    apart = {
        name: told_value(own.setting(name)) for name in sorted(apart_in(own, other)) if own.setting(name) is not ...
    }
    plain = {name: getattr(own, name) for name in ("model", "data", "epochs", "n_train", "protocol")}
    return plain | {
        "settings_apart": apart,
        "runs": [str(run.path) for run in own.runs],
        "stale": own.stale,
        "values": {str(seed): value for seed, value in values.items()},
        "mean": statistics.fmean(values.values()),
    }


def mcnemar_of(a: Result, b: Result) -> dict[str, Any] | None:
    """McNemar's exact test on the predictions of two runs; None where one has none, or they are of other images."""
    import numpy as np

    sides = [predictions(run.path / "test_predictions.npz") for run in (a, b)]
    if sides[0] is None or sides[1] is None:
        return None
    (index, label, first), (other_index, other_label, second) = sides
    if not (np.array_equal(index, other_index) and np.array_equal(label, other_label)):
        return None
    only_a = int(((first == label) & (second != label)).sum())
    only_b = int(((first != label) & (second == label)).sum())
    return {
        "seed": a.seed,
        "only_a_right": only_a,
        "only_b_right": only_b,
        "n": label.size,
        "p": mcnemar(only_a, only_b),
    }


def predictions(path: Path) -> Any:
    """Indices, labels and predicted classes of the test images, or None where the file is missing or another one."""
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            found = [file[name] for name in ("index", "label", "prediction")]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    flat = all(array.ndim == 1 and array.shape == found[0].shape for array in found)
    return found if flat else None


def in_words(found: dict[str, Any]) -> str:
    """The comparison as a paragraph."""
    a, b, unit = found["a"], found["b"], found["unit"]
    names = [side["model"] + settings_in_words(side) for side in (a, b)]
    what = "test error" if found["lower_is_better"] else "test mAP"
    digits = 2 if unit else 4
    unit = f" {unit}" if unit else ""
    said = [
        f"On {a['data']}, A ({names[0]}) has {what} {a['mean']:.{digits}f} (n = {len(a['values'])}) and B ({names[1]}) "
        f"{b['mean']:.{digits}f} (n = {len(b['values'])}): A - B = {found['difference']:+.{digits}f}{unit}"
    ]
    pairs = len(found["paired_seeds"])
    over = f"over {pairs} paired seed{'s' if pairs != 1 else ''}" if pairs else "without any seed in common (Welch)"
    if found["interval"] is None:
        said[0] += f" {over}, which is too few for an interval: the difference between trainings is not decided."
    else:
        low, high = found["interval"]
        said[0] += f" {over}, 95 % interval {low:+.{digits}f} to {high:+.{digits}f}."
        said.append(decision(low, high, lower_is_better=found["lower_is_better"]))
    for test in found["mcnemar"]:
        verdict = "more than chance" if test["p"] < UNLIKELY else "within chance"
        said.append(
            f"Seed {test['seed']}: of {test['n']:,} test images only A has {test['only_a_right']} right and only B "
            f"{test['only_b_right']}, {verdict} (McNemar, exact, p = {test['p']:.2g})."
        )
    for name in ("epochs", "n_train", "protocol"):
        if a[name] != b[name]:
            said.append(f"Mind that {name} is {a[name]} in A and {b[name]} in B.")
    if a["stale"] or b["stale"]:
        said.append(f"Of other code than today's: {a['stale']} run(s) of A, {b['stale']} of B.")
    return " ".join(said)


def settings_in_words(side: dict[str, Any]) -> str:
    """The settings that set a side apart, cut after a few."""
    apart = [f"{name}={value}" for name, value in side["settings_apart"].items() if not name.startswith("model.")]
    return "".join(f", {word}" for word in apart[:4]) + (", …" if len(apart) > 4 else "")


def decision(low: float, high: float, *, lower_is_better: bool) -> str:
    """What the interval of A - B says."""
    if low <= 0 <= high:
        return "Neither is shown to be better: the interval holds 0."
    return f"{'A' if (high < 0) == lower_is_better else 'B'} is better, by more than chance between trainings."
