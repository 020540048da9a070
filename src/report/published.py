"""Read the numbers that studies printed, from ``conf/published/<experiment>.yaml`` into frozen dataclasses.

The numbers stand as they were printed, with a note where a study contradicts itself; nothing here corrects them, and
nothing that we counted or chose stands among them. A condition on a run (``match``, a cell of a claim) is a mapping of
names to values: model, data, task or seed, or a setting in the run's config.yaml by its dotted name (data.limit_train).
The dataclasses are also the schema of the files: OmegaConf checks every key and value against their fields.
Importing this module imports no torch.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..cli.compose import CONF
from ..errors import UserError
from ..files import check_yaml
from ..text import describe_unknown, natural_sort_key
from ..zoo.registry import row
from .protocol import Conditions, Protocol
from .result import find_nested, list_default_settings
from .schema import Number, Value, build_entry, require

FACTS = ("model", "data", "task", "seed")  # the names without a dot that a condition may have


SPLITS = ("train", "val", "test")


OTHER_METRICS = ("params", "macs", "time/fit_seconds", "time/epoch_seconds", "epochs_to_convergence")


FIGURES = (
    "curves",
    "error_against_depth",
    "error_against_parameters",
    "error_against_macs",
    "error_against_hours",
    "training_time_bars",
    "confusion",
    "per_class",
    "accuracy_against_share",
)


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
    """One comparison of cells by each of some metrics; exactly one of the four kinds is given.

    `higher` and `lower`: each of the ones has more than each of the others. `highest` or `lowest`: that cell has more
    or less than every other network of the study's rows. `rising`: each cell has more than all that stand before it.
    `trend`: over the cells in this order the metric rises on the whole, and nowhere falls.
    """

    metrics: list[str]
    higher: list[Conditions] = field(default_factory=list)
    lower: list[Conditions] = field(default_factory=list)
    highest: Conditions = field(default_factory=dict)
    lowest: Conditions = field(default_factory=dict)
    rising: list[Conditions] = field(default_factory=list)
    trend: list[Conditions] = field(default_factory=list)


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
                yield self.where | cell


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


def list_published() -> list[str]:
    """Return the names of the studies that conf/published has a file of, in their natural order."""
    return sorted((path.stem for path in (CONF / "published").glob("*.yaml")), key=natural_sort_key)


def read_published(name: str) -> Published:
    """Return the published numbers of a study; UserError for an unknown name or a wrong file."""
    if name not in list_published():
        raise UserError(describe_unknown("published", name, list_published()))
    return load_published(CONF / "published" / f"{name}.yaml")


def load_published(path: Path) -> Published:
    """Read and check a file of published numbers; UserError names the file and the key of whatever is wrong."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(check_yaml(path)))
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    try:
        published = build_entry(Published, content, experiment=path.stem)
        check_published(published)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    protocol = replace(published.protocol, experiment=path.stem)
    tables = [replace(table, protocol=protocol.merge(table.protocol)) for table in published.tables]
    return replace(published, protocol=protocol, tables=tables)


def fits(conditions: Mapping[str, Value], results: Mapping[str, object], config: object) -> bool:
    """Tell whether a run meets all conditions, given the contents of its results.json and config.yaml."""
    return all(
        (find_nested(config, name) if "." in name else results.get(name)) == value for name, value in conditions.items()
    )


def find_printed_number(
    experiment: str, metric: str, results: Mapping[str, object], config: object
) -> tuple[float, Column] | None:
    """Return the number that a study printed for a run, in the printed unit, and its column; None where it has none."""
    for table in read_published(experiment).tables if experiment in list_published() else ():
        for entry in table.rows:
            if metric in entry.values and entry.match is not None and fits(entry.match, results, config):
                return entry.values[metric], table.columns[metric]
    return None


def check_published(published: Published) -> None:
    """Refuse what no type can express: unknown names, rows that one run could be both of, incomplete claims."""
    check_protocol(published.protocol, "protocol")
    for i, table in enumerate(published.tables):
        check_table(table, f"tables[{i}]")
    for i, claim in enumerate(published.claims):
        check_conditions(claim.where, f"claims[{i}].where")
        for j, part in enumerate(claim.parts):
            check_part(part, f"claims[{i}].parts[{j}]")
        for cell in claim.cells:
            check_conditions(cell, f"claims[{i}]")
    for figure in published.figures:
        require(figure in FIGURES, "figures", f"{figure} is none of {', '.join(FIGURES)}")


def check_part(part: Part, where: str) -> None:
    """Refuse a part of a claim that names no metric, or not exactly one kind of comparison."""
    require(bool(part.metrics), f"{where}.metrics", "at least one is needed")
    for metric in part.metrics:
        check_metric(metric, f"{where}.metrics", SPLITS)
    require(bool(part.higher) == bool(part.lower), where, "higher and lower go together")
    kinds = [kind for kind in ("higher", "highest", "lowest", "rising", "trend") if getattr(part, kind)]
    require(len(kinds) == 1, where, "one of higher with lower, highest, lowest, rising and trend is needed")
    for kind in ("rising", "trend"):
        require(len(getattr(part, kind)) != 1, f"{where}.{kind}", "at least two cells are needed")


def check_protocol(protocol: Protocol, where: str) -> None:
    """Refuse a protocol with a name that is no setting and no group of settings."""
    require(not protocol.experiment, f"{where}.experiment", "is the name of the file")
    known = list_default_settings("")
    for key in ("settings", "stated", "elsewhere"):
        for name in getattr(protocol, key):
            found = name.startswith("model.") or any(leaf == name or leaf.startswith(f"{name}.") for leaf in known)
            require(found, f"{where}.{key}", f"{name} is no setting and no group of settings")


def check_table(table: Table, where: str) -> None:
    """Refuse unknown metrics in a table, and two rows that the same run could be."""
    check_protocol(table.protocol, f"{where}.protocol")
    for metric, column in table.columns.items():
        check_metric(metric, f"{where}.columns.{metric}", (*SPLITS, "published"))
        known = column.better in ("higher", "lower", "none")
        require(known, f"{where}.columns.{metric}.better", f"{column.better} is none of higher, lower, none")
    for i, entry in enumerate(table.rows):
        check_conditions(entry.match or {}, f"{where}.rows[{i}].match")
        for key in ("values", "std", "printed"):
            for metric in getattr(entry, key):
                place = f"{where}.rows[{i}].{key}.{metric}"
                require(metric in table.columns, place, f"no such column among {', '.join(table.columns)}")
    matches = [(i, entry.match) for i, entry in enumerate(table.rows) if entry.match is not None]
    for (i, one), (j, other) in combinations(matches, 2):
        differ = any(name in other and other[name] != value for name, value in one.items())
        require(differ, f"{where}.rows[{j}].match", f"the same run could be this row and rows[{i}]")


def check_metric(name: str, where: str, splits: Iterable[str]) -> None:
    """Refuse a metric that results.json has no place for."""
    split, _, metric = name.partition("/")
    known = name in OTHER_METRICS or (split in splits and bool(metric))
    require(known, where, f"{name} is none of train/…, val/…, test/…, {', '.join(OTHER_METRICS)}")


def check_conditions(conditions: Conditions, where: str) -> None:
    """Refuse conditions on an unknown model, data set or task."""
    from ..config.choices import CHOICES

    for name in conditions:
        require(
            "." in name or name in FACTS,
            f"{where}.{name}",
            f"is none of {', '.join(FACTS)}, and no setting such as data.limit_train",
        )
    try:
        if "model" in conditions:
            row(str(conditions["model"]))
        for key, known in (("data", CHOICES["data"]), ("task", CHOICES["task"])):
            if key in conditions and conditions[key] not in known:
                raise UserError(describe_unknown(key, str(conditions[key]), known))
    except UserError as error:
        raise UserError(f"{where}.{error}") from None
