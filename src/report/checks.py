"""Refuse what no type of a file of published numbers can express: unknown names, ambiguous rows, incomplete claims."""

from collections.abc import Iterable
from itertools import combinations

from ..errors import UserError
from ..text import describe_unknown
from ..zoo.registry import row
from .defaults import list_default_settings
from .derived import read_level
from .printed import Part, Published, Table
from .protocol import Conditions, Protocol
from .schema import require

FACTS = ("model", "data", "task", "seed")  # the names without a dot that a condition may have


SPLITS = ("train", "val", "test")


OTHER_METRICS = (
    "params",
    "macs",
    "depth",
    "gap/error",
    "time/fit_seconds",
    "time/epoch_seconds",
    "epochs_to_convergence",
)


FIGURES = (
    "curves",
    "loss_curves",
    "error_against_depth",
    "error_against_parameters",
    "error_against_macs",
    "error_against_hours",
    "training_time_bars",
    "confusion",
    "per_class",
    "accuracy_against_share",
    "scores_against_share",
)


KINDS = ("higher", "highest", "lowest", "rising", "trend", "above", "below")  # of a part of a claim


def check_published(published: Published) -> None:
    """Refuse what no type can express: unknown names, rows that one run could be both of, incomplete claims."""
    check_protocol(published.protocol, "protocol")
    for i, table in enumerate(published.tables):
        check_table(table, f"tables[{i}]")
    printed = {metric for table in published.tables for metric in table.columns}
    for i, claim in enumerate(published.claims):
        check_conditions(claim.where, f"claims[{i}].where")
        for j, part in enumerate(claim.parts):
            check_part(part, f"claims[{i}].parts[{j}]")
            for kind in ("above", "below"):
                known = not getattr(part, kind) or getattr(part, kind) in printed
                require(known, f"claims[{i}].parts[{j}].{kind}", f"no column {getattr(part, kind)} in any table")
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
    kinds = [kind for kind in KINDS if getattr(part, kind)]
    named = "higher with lower, highest, lowest, rising, trend, above and below"
    require(len(kinds) == 1, where, f"one of {named} is needed")
    for kind in ("rising", "trend"):
        require(len(getattr(part, kind)) != 1, f"{where}.{kind}", "at least two cells are needed")
    together = not part.across or kinds[0] not in ("highest", "lowest", "above", "below")
    require(together, f"{where}.across", f"goes with higher and lower, rising or trend, not with {kinds[0]}")


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
    known = name in OTHER_METRICS or read_level(name) is not None or (split in splits and bool(metric))
    others = ", ".join([*OTHER_METRICS, "epochs_to/<split>/<accuracy in percent>"])
    require(known, where, f"{name} is none of train/…, val/…, test/…, {others}")


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
