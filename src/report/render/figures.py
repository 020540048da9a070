"""The kinds of figures by the names that conf/published gives them, each made for every arena that has the numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from ..groups import Arena, Group, arenas
from .classes import confusion, per_class
from .plot import Figure
from .trends import Against, accuracy_against_share, curves, training_time

MOST = 6  # figures of a kind: what a person looks through


SMALLER = "On the front, no other network is both smaller and better."


FASTER = "On the front, nothing else is both faster and better."


KINDS: dict[str, Callable[[Arena], Iterator[Figure]]] = {
    "error_against_depth": Against("depth", "Error against depth", "layers", "depth"),
    "curves": curves,
    "error_against_parameters": Against(
        "parameters", "Error against parameters", "parameters [million]", "params", 1e-6, SMALLER
    ),
    "error_against_macs": Against(
        "macs", "Error against arithmetic", "multiply-adds an image [million]", "macs", 1e-6, SMALLER
    ),
    "error_against_hours": Against(
        "hours", "Error against training time", "hours", "time/fit_seconds", 1 / 3600, FASTER
    ),
    "training_time_bars": training_time,
    "accuracy_against_share": accuracy_against_share,
    "per_class": per_class,
    "confusion": confusion,
}


def figures(groups: Sequence[Group], wanted: Sequence[str], published: Mapping[tuple[str, str], float]) -> list[Figure]:
    """The wanted kinds of figures, as far as the groups have numbers for them; of each kind a few, of most runs.

    published: test errors in percent by data and model, to stand beside ours.
    """
    found: list[Figure] = []
    for name in wanted:
        kind = KINDS[name]
        if isinstance(kind, Against):
            kind = replace(kind, published=published)
        drawn = (figure for arena in arenas(groups, by_size=name != "accuracy_against_share") for figure in kind(arena))
        found += islice(drawn, MOST)
    return found
