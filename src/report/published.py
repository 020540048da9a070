"""What the studies printed, as data: ``conf/published/<experiment>.yaml``, read into frozen dataclasses.

The numbers stand as they were printed, with a note where a study contradicts itself; nothing here corrects them.
A condition on a run (``match``, ``protocol``, ``higher``, ``lower``) is a mapping of names to values: a name without a
dot is a key of results.json, one with a dot a setting of the run's config.yaml (``data.limit_train``).
Importing this module imports no torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from itertools import combinations
from pathlib import Path
from typing import Any

from ..cli.compose import CONF
from ..errors import UserError
from ..text import natural, unknown
from ..zoo.registry import row

Value = str | int | float | bool | None


Conditions = Mapping[str, Value]


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
    """A column: ours is ``scale`` times what results.json holds under ``metric``, printed with so many digits.

    ``<split>/error`` is 1 - ``<split>/accuracy``; ``published/…`` is a number that no run of ours has a counterpart of.
    ``margin`` is how far ours may lie from the printed number and still agree with it, in the printed unit.
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
    """A printed row: values by metric in the printed unit, and the runs of ours that it is about.

    Without ``match`` it stands for comparison only. ``printed`` is the study's own text of a value, where a number
    says it badly ("2 d 21 h 12 m 24 s"): to be shown instead of it. ``std`` and ``n``: the deviation and the number of
    the runs whose mean the value is. ``contradictory`` says what in the row cannot be true.
    """

    label: str
    match: Conditions | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    printed: Mapping[str, str] = field(default_factory=dict)
    std: Mapping[str, float] = field(default_factory=dict)
    n: int | None = None
    notes: tuple[str, ...] = ()
    contradictory: str = ""


@dataclass(frozen=True)
class Table:
    """A table; ``protocol``: what a run must have had to be comparable with it, the file's laid under the table's."""

    name: str
    columns: Mapping[str, Column]  # by metric, in their order
    rows: tuple[Row, ...]
    protocol: Conditions = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """What the text says; with a metric, of which runs it is the higher and of which the lower."""

    text: str
    metric: str | None = None
    higher: Conditions | None = None
    lower: Conditions | None = None


@dataclass(frozen=True)
class Published:
    """All that an experiment's study printed."""

    experiment: str
    title: str
    source: str
    tables: tuple[Table, ...]
    protocol: Conditions = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    figures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def published_names() -> list[str]:
    """The experiments, and other collections of numbers, that conf/published has a file of."""
    return sorted((path.stem for path in (CONF / "published").glob("*.yaml")), key=natural)


def read_published(name: str) -> Published:
    """The published numbers of an experiment; UserError for an unknown name or a wrong file."""
    if name not in published_names():
        raise UserError(unknown("published", name, published_names()))
    return load_published(CONF / "published" / f"{name}.yaml")


def load_published(path: Path) -> Published:
    """A file of published numbers, checked; UserError names the file and the key of whatever is wrong."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    try:
        return _published(path.stem, content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def fits(conditions: Conditions, results: Mapping[str, Any], config: Any) -> bool:
    """Whether a run, by the contents of its results.json and config.yaml, meets all conditions."""
    return all(_of_run(name, results, config) == value for name, value in conditions.items())


def printed(experiment: str, metric: str, results: Mapping[str, Any], config: Any) -> tuple[float, Column] | None:
    """What an experiment's study printed under `metric` for a run, in its unit, and the column; None where nothing."""
    for table in read_published(experiment).tables if experiment in published_names() else ():
        for entry in table.rows:
            if metric in entry.values and entry.match is not None and fits(entry.match, results, config):
                return entry.values[metric], table.columns[metric]
    return None


def _of_run(name: str, results: Mapping[str, Any], config: Any) -> Any:
    if "." not in name:
        return results.get(name)
    for part in name.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def _published(name: str, content: Any) -> Published:
    entry = _entry(content, Published, "", left_out=("experiment",))
    protocol = _conditions(entry.get("protocol", {}), "protocol")
    tables = [
        _table(table, f"tables[{i}]", protocol) for i, table in enumerate(_list(entry["tables"], "tables", of=dict))
    ]
    claims = [
        _claim(claim, f"claims[{i}]") for i, claim in enumerate(_list(entry.get("claims", []), "claims", of=dict))
    ]
    figures = _list(entry.get("figures", []), "figures", of=str)
    for figure in figures:
        _require(figure in FIGURES, "figures", f"{figure} is none of {', '.join(FIGURES)}")
    return Published(
        experiment=name,
        title=_text(entry["title"], "title"),
        source=_text(entry["source"], "source"),
        tables=tuple(tables),
        protocol=protocol,
        claims=tuple(claims),
        figures=tuple(figures),
        notes=tuple(_list(entry.get("notes", []), "notes", of=str)),
    )


def _table(content: Any, where: str, protocol: Conditions) -> Table:
    entry = _entry(content, Table, where)
    columns = {
        metric: _column(metric, column, f"{where}.columns.{metric}")
        for metric, column in _mapping(entry["columns"], f"{where}.columns").items()
    }
    rows = [
        _row(content, f"{where}.rows[{i}]", columns) for i, content in enumerate(_list(entry["rows"], f"{where}.rows"))
    ]
    matches = [(i, row.match) for i, row in enumerate(rows) if row.match is not None]
    for (i, one), (j, other) in combinations(matches, 2):
        apart = any(name in other and other[name] != value for name, value in one.items())
        _require(apart, f"{where}.rows[{j}].match", f"the same run could be this row and rows[{i}]")
    return Table(
        name=_text(entry["name"], f"{where}.name"),
        columns=columns,
        rows=tuple(rows),
        protocol={**protocol, **_conditions(entry.get("protocol", {}), f"{where}.protocol")},
        notes=tuple(_list(entry.get("notes", []), f"{where}.notes", of=str)),
    )


def _column(metric: str, content: Any, where: str) -> Column:
    entry = _entry(content, Column, where, left_out=("metric",))
    _check_metric(metric, where, also=("published",))
    better = entry.get("better", "higher")
    _require(better in ("higher", "lower", "none"), f"{where}.better", f"{better} is none of higher, lower, none")
    margin = entry.get("margin")
    digits = entry.get("digits", 2)
    _require(isinstance(digits, int), f"{where}.digits", "a whole number is needed")
    return Column(
        metric=metric,
        title=_text(entry["title"], f"{where}.title"),
        better=better,
        scale=_number(entry.get("scale", 1.0), f"{where}.scale"),
        digits=digits,
        margin=None if margin is None else _number(margin, f"{where}.margin"),
    )


def _row(content: Any, where: str, columns: Iterable[str]) -> Row:
    entry = _entry(content, Row, where)
    numbers = {key: _mapping(entry.get(key, {}), f"{where}.{key}") for key in ("values", "std", "printed")}
    for key, values in numbers.items():
        for metric, value in values.items():
            _require(metric in columns, f"{where}.{key}.{metric}", f"no such column among {', '.join(columns)}")
            _text(value, f"{where}.{key}.{metric}") if key == "printed" else _number(value, f"{where}.{key}.{metric}")
    n = entry.get("n")
    _require(n is None or isinstance(n, int), f"{where}.n", "a whole number is needed")
    match = entry.get("match")
    return Row(
        label=_text(entry["label"], f"{where}.label"),
        match=None if match is None else _conditions(match, f"{where}.match"),
        n=n,
        notes=tuple(_list(entry.get("notes", []), f"{where}.notes", of=str)),
        contradictory=_text(entry.get("contradictory", ""), f"{where}.contradictory"),
        **numbers,
    )


def _claim(content: Any, where: str) -> Claim:
    entry = _entry(content, Claim, where)
    given = [key for key in ("metric", "higher", "lower") if key in entry]
    _require(len(given) in (0, 3), where, "metric, higher and lower go together")
    text = _text(entry["text"], f"{where}.text")
    if not given:
        return Claim(text)
    _check_metric(entry["metric"], f"{where}.metric")
    higher, lower = (_conditions(entry[key], f"{where}.{key}") for key in ("higher", "lower"))
    return Claim(text, entry["metric"], higher, lower)


def _check_metric(name: Any, where: str, also: tuple[str, ...] = ()) -> None:
    split, _, metric = str(name).partition("/")
    known = name in OTHER_METRICS or (split in (*SPLITS, *also) and bool(metric))
    _require(known, where, f"{name} is none of train/…, val/…, test/…, {', '.join(OTHER_METRICS)}")


def _conditions(content: Any, where: str) -> Conditions:
    """Conditions on a run, whose model, data set and task are known ones."""
    from ..config.choices import CHOICES

    conditions = _mapping(content, where)
    for name, value in conditions.items():
        plain = value is None or isinstance(value, str | int | float)
        _require(plain, f"{where}.{name}", "a name, a number, true, false or null is needed")
    if "model" in conditions:
        row(str(conditions["model"]))
    for key, known in (("data", CHOICES["data"]), ("task", CHOICES["task"])):
        if key in conditions and conditions[key] not in known:
            raise UserError(f"{where}.{unknown(key, str(conditions[key]), known)}")
    return conditions


def _entry(content: Any, kind: type, where: str, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """A mapping with the fields of this dataclass: no other ones, and all that have no default."""
    entry = _mapping(content, where or "the file")
    known = {f.name: f for f in fields(kind) if f.name not in left_out}
    for key in entry:
        _require(key in known, ".".join(filter(None, (where, key))), f"no such key; there are {', '.join(known)}")
    for key, f in known.items():
        optional = f.default is not MISSING or f.default_factory is not MISSING
        _require(optional or key in entry, ".".join(filter(None, (where, key))), "is missing")
    return entry


def _mapping(content: Any, where: str) -> dict[str, Any]:
    _require(isinstance(content, dict) and all(isinstance(key, str) for key in content), where, "a mapping is needed")
    result: dict[str, Any] = content
    return result


def _list(content: Any, where: str, of: type = dict) -> list[Any]:
    items = "texts" if of is str else "mappings"
    fine = isinstance(content, list) and all(isinstance(item, of) for item in content)
    _require(fine, where, f"a list of {items} is needed")
    result: list[Any] = content
    return result


def _text(content: Any, where: str) -> str:
    _require(isinstance(content, str), where, "a text is needed")
    return str(content)


def _number(content: Any, where: str) -> float:
    _require(isinstance(content, int | float) and not isinstance(content, bool), where, "a number is needed")
    result: float = content
    return result


def _require(condition: bool, where: str, message: str) -> None:
    if not condition:
        raise UserError(f"{where}: {message}")
