"""What a file of published numbers holds, as frozen dataclasses: tables, rows, claims.

The dataclasses are also the schema of the files: OmegaConf checks every key and value against their fields.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .protocol import Conditions, Protocol
from .schema import Number


@dataclass(frozen=True)
class Column:
    """A column of a table: which number of a run it shows, and how it is printed and judged.

    Our number is ``scale`` times the one that results.json holds under ``metric``. ``<split>/error`` is
    1 - ``<split>/accuracy``; ``published/…`` is a number that our runs have no counterpart of. ``margin`` is how far
    ours may lie from the printed number and still match it, in the printed unit.
    """

    metric: str
    title: str
    better: str = "higher"  # or lower, or none where neither is
    scale: float = 1.0
    digits: int = 2
    margin: float | None = None

    @property
    def has_counterpart(self) -> bool:
        return not self.metric.startswith("published/")


@dataclass(frozen=True)
class Row:
    """A printed row: its values by metric, in the printed unit, and a ``match`` on the runs of ours that it is about.

    A row without ``match`` is shown but not compared. ``printed`` is the study's own text for a value that reads badly
    as a number ("2 d 21 h 12 m 24 s") and is shown instead of it. Where a value is the mean of several runs, ``std``
    and ``n`` are their standard deviation and number. ``contradictory`` says what in the row cannot be true.
    ``settings`` are those in which the row's runs differ from the table's.
    """

    label: str
    match: Conditions | None = None
    values: dict[str, Number] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)
    std: dict[str, Number] = field(default_factory=dict)
    n: int | None = None
    notes: list[str] = field(default_factory=list)
    contradictory: str = ""
    settings: Conditions = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table, whose ``protocol`` adds to that of the file; ``source`` is whose numbers these are, if another's."""

    name: str
    columns: dict[str, Column]  # by metric, in their order
    rows: list[Row]
    protocol: Protocol = field(default_factory=Protocol)
    notes: list[str] = field(default_factory=list)
    source: str = ""
    margin_why: str = ""  # what its margins are a fraction of


@dataclass(frozen=True)
class Part:
    """One comparison of cells by each of some metrics; exactly one of the kinds is given.

    `higher` and `lower`: each of the ones has more than each of the others. `highest` or `lowest`: that cell has more
    or less than every other network of the study's rows. `rising`: each cell has more than all that stand before it.
    `trend`: over the cells in this order the metric rises on the whole, and nowhere falls. `above` or `below`: each row
    that prints this number has more or less than it. With `across`, a cell's number is its mean over these conditions.
    """

    metrics: list[str]
    higher: list[Conditions] = field(default_factory=list)
    lower: list[Conditions] = field(default_factory=list)
    highest: Conditions = field(default_factory=dict)
    lowest: Conditions = field(default_factory=dict)
    rising: list[Conditions] = field(default_factory=list)
    trend: list[Conditions] = field(default_factory=list)
    above: str = ""
    below: str = ""
    across: list[Conditions] = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """A claim of the study's text: it holds where all of its parts do; without any, no number of ours stands for it.

    ``where`` are conditions on every cell in it. ``contradictory`` says what of the study's own numbers speaks against
    it, and ``ours`` that the words are not the study's.
    """

    text: str
    parts: list[Part] = field(default_factory=list)
    where: Conditions = field(default_factory=dict)
    contradictory: str = ""
    ours: bool = False

    @property
    def cells(self) -> Iterator[Conditions]:
        """Yield the conditions on each cell that the parts name."""
        for part in self.parts:
            ends = [cell for cell in (part.highest, part.lowest) if cell]
            for cell in (*part.higher, *part.lower, *part.rising, *part.trend, *ends):
                yield from (self.where | cell | each for each in part.across or [{}])


@dataclass(frozen=True)
class Published:
    """Everything that is recorded of a study."""

    experiment: str
    title: str
    source: str
    tables: list[Table]
    protocol: Protocol = field(default_factory=Protocol)
    claims: list[Claim] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def cells(self) -> Iterator[tuple[Conditions, Protocol]]:
        """Yield the conditions on each cell of the tables and claims, and the protocol that its runs follow."""
        for table in self.tables:
            for entry in table.rows:
                if entry.match is not None:
                    yield entry.match, table.protocol.add(entry.settings)
        for claim in self.claims:
            for cell in claim.cells:
                yield cell, self.protocol
