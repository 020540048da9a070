"""Read the numbers that studies printed, from ``conf/published/<experiment>.yaml`` into frozen dataclasses.

The numbers stand as they were printed, with a note where a study contradicts itself; nothing here corrects them, and
nothing that we counted or chose stands among them. A condition on a run (``match``, a cell of a claim) is a mapping of
names to values: model, data, task or seed, or a setting in the run's config.yaml by its dotted name (data.limit_train).
Importing this module imports no torch.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..cli.compose import CONF
from ..errors import UserError
from ..files import check_yaml
from ..text import describe_unknown, natural_sort_key
from .checks import check_published
from .defaults import find_nested
from .printed import Claim, Column, Part, Published, Row, Table
from .schema import Value, build_entry

__all__ = ["Claim", "Column", "Part", "Published", "Row", "Table", "list_published", "load_published", "read_published"]


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
