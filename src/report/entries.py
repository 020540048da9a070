"""The cells, rows and tables of a report, before they are laid out."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .groups import Group
from .protocol import Setting
from .published import Column
from .statistics import compute_std
from .verdict import Case, Verdict

PUBLISHED = "published"  # whose a number is that nobody else is named for


@dataclass(frozen=True)
class Entry:
    """A number of ours beside the published one, in the printed unit; either may be missing.

    A `case` is still to be judged with the others of its table. What is not `counted`, because its source contradicts
    it, is judged singly and no part of the headline.
    """

    column: Column
    values: Sequence[float] = ()
    published: float | None = None
    printed: str = ""
    verdict: Verdict | None = None
    case: Case | None = None
    counted: bool = True
    source: str = PUBLISHED  # whose the published number is

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        return compute_std(self.values)

    @property
    def ours(self) -> str:
        """Mean ± standard deviation; the mean alone for one seed, or where all seeds agree."""
        if self.mean is None:
            return ""
        deviation = f" ± {format_number(self.std, self.column)}" if self.std else ""
        return format_number(self.mean, self.column) + deviation

    @property
    def difference(self) -> float | None:
        """Our number minus the published one; None where the two are not comparable."""
        if self.mean is None or self.published is None or (self.verdict and self.verdict.word == "not comparable"):
            return None
        return self.mean - self.published


@dataclass(frozen=True)
class Line:
    """A row of a view: its keys, its group (None before the first run), an entry for each column, and warnings."""

    keys: Sequence[str]
    group: Group | None
    entries: Sequence[Entry]
    flags: Sequence[str] = ()
    notes: Sequence[str] = ()
    reasons: Sequence[str] = ()  # why the group is not comparable


@dataclass(frozen=True)
class View:
    """A table to print; `compared` tells whether it has published numbers, and `protocol` how these were trained."""

    name: str
    keys: Sequence[str]
    columns: Sequence[Column]
    lines: Sequence[Line]
    notes: Sequence[str] = ()
    compared: bool = False
    protocol: Sequence[Setting] = ()
    source: str = PUBLISHED


def format_number(value: float, column: Column, sign: str = "") -> str:
    """Write a number with the column's digits; a difference takes sign="+"."""
    return f"{value:{sign},.{column.digits}f}".replace("-", "−")
