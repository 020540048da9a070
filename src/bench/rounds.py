"""Sides measured in turn in one process, and how busy the machine was meanwhile."""

import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

DISTURBED = 0.03  # share of the cores' time that others may take before a warning says so


@dataclass(frozen=True)
class Comparison:
    """Ways to do one thing. ``sides`` maps a name to what does it once and returns a figure; the first side is ours.

    ``targets``: for the sides that ours is held against, the ratio wanted of it, or None where none is. A ratio above 1
    means that ours is better, whether the figure is a rate or, with ``lower_is_better``, a time.
    """

    title: str
    unit: str
    sides: dict[str, Callable[[], float]]
    targets: dict[str, float | None] = field(default_factory=dict)
    lower_is_better: bool = False
    notes: list[str] = field(default_factory=list)  # what was checked or chosen beside the timing

    def ratio(self, ours: float, other: float) -> float:
        return other / ours if self.lower_is_better else ours / other


def measure(comparison: Comparison, rounds: int) -> dict[str, list[float]]:
    """The figures by side and round, after one round that does not count; who begins changes from round to round."""
    figures: dict[str, list[float]] = {name: [] for name in comparison.sides}
    order = list(comparison.sides)
    for number in range(rounds + 1):
        for name in order:
            as_torch_starts()
            gc.collect()
            figure = comparison.sides[name]()
            if number:
                figures[name].append(figure)
        order.reverse()
    return figures


def as_torch_starts() -> None:
    """Undo what one side's Trainer has set for the whole process."""
    torch.use_deterministic_algorithms(False)


def second_best(figures: list[float], *, lower_is_better: bool) -> float:
    """The best figure but one: near what the machine can do, without trusting a single lucky round."""
    return sorted(figures, reverse=not lower_is_better)[1]


def judged(comparison: Comparison, figures: dict[str, list[float]]) -> dict[str, Any]:
    """A comparison's result, as bench.json keeps it."""
    median = {name: statistics.median(values) for name, values in figures.items()}
    second = {name: second_best(v, lower_is_better=comparison.lower_is_better) for name, v in figures.items()}
    ours = next(iter(comparison.sides))
    ratios = {
        name: {
            "of_medians": comparison.ratio(median[ours], median[name]),
            "of_second_best": comparison.ratio(second[ours], second[name]),
            "target": target,
        }
        for name, target in comparison.targets.items()
    }
    return {
        "title": comparison.title,
        "unit": comparison.unit,
        "lower_is_better": comparison.lower_is_better,
        "rounds": figures,
        "median": median,
        "second_best": second,
        "ratios": ratios,
        "notes": comparison.notes,
    }


class Busy:
    """How busy the machine is while this lives, from Linux' /proc; elsewhere only the time is known."""

    def __init__(self) -> None:
        self.load = load_average()
        self.began, self.all, self.own = time.monotonic(), all_cpu_seconds(), own_cpu_seconds()

    def report(self) -> dict[str, Any]:
        """Load averages before and after, and the share of the cores' time that others used or were given."""
        seconds, busy = time.monotonic() - self.began, all_cpu_seconds()
        others = None
        if self.all is not None and busy is not None:
            taken = (busy - self.all) - (own_cpu_seconds() - self.own)
            others = max(0.0, taken / (seconds * (os.cpu_count() or 1)))
        return {"load_before": self.load, "load_after": load_average(), "others_share": others, "seconds": seconds}


def load_average() -> float | None:
    """The mean number of processes that ran or waited to, over the last minute."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def all_cpu_seconds() -> float | None:
    """Seconds that all cores have spent on anything, a host's other guests included (steal); None without /proc."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split(None, 9)[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_cpu_seconds() -> float:
    """Seconds of this process, of the children it has waited for, and of the worker processes it has now."""
    ticks = 0
    for child in multiprocessing.active_children():
        stat = Path(f"/proc/{child.pid}/stat")
        if stat.exists():
            fields = stat.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # user and system time; fields start after the name
    return sum(os.times()[:4]) + ticks / os.sysconf("SC_CLK_TCK")
