"""Tabulate what `python -m src.trust` has measured and kept with the runs (trust.json), beside published numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import UserError
from ..files import read_json
from ..runs.results import is_number
from .defaults import format_settings
from .entries import Entry, Line, View
from .groups import Group
from .published import Column
from .result import find_nested

COLUMNS = (
    Column("temperature", "temperature", better="none"),
    Column("plain.ece", "ECE %", better="lower", scale=100),
    Column("scaled.ece", "ECE % with temperature", better="lower", scale=100),
    Column("plain.nll", "NLL", better="lower", digits=4),
    Column("scaled.nll", "NLL with temperature", better="lower", digits=4),
    Column("selective.accuracy_at_90", "accuracy % on the surest 90 %", scale=100),
    Column("selective.accuracy_at_80", "accuracy % on the surest 80 %", scale=100),
    Column("selective.aurc", "AURC", better="lower", digits=4),
    Column("conformal.coverage", "label in the 90 % sets %", better="none", scale=100),
    Column("conformal.mean_size", "classes in a set", better="lower"),
    Column("corruptions.mean_error", "error % corrupted here", better="lower", scale=100),
    Column("cifar_c.mean_error", "error % CIFAR-C", better="lower", scale=100),
)
SOURCE = "Guo et al. (2017)"
PUBLISHED = {  # ECE of their Table 1 with 15 bins, before and after temperature scaling; 45,000/5,000/10,000 images
    ("resnet110", "cifar10"): {"plain.ece": "4.6", "scaled.ece": "0.83"},
    ("resnet110", "cifar100"): {"plain.ece": "16.53", "scaled.ece": "1.26"},
}
NOTE = (
    "Trust: the temperature is fitted on validation, all else is of the test; ECE has 15 bins. Images corrupted here "
    "are alike in kind to CIFAR-10-C, and their error is no published number (docs/trust.md)"
)


def build_trust_view(groups: Sequence[Group]) -> View | None:
    """Build the table of the groups whose runs have a trust.json; None where none has."""
    lines, notes = [], [NOTE]
    for group in groups:
        found = []
        for run in group.runs:
            try:
                content = read_json(run.path / "trust.json", "delete it, and python -m src.trust measures it again")
            except UserError as error:
                notes.append(str(error))
                continue
            if content is not None:
                found.append(content)
        if found:
            keys = [group.model, group.data, " ".join(format_settings(group.label_settings))]
            lines.append(Line(keys, group, [make_entry(column, found, group) for column in COLUMNS]))
    if not lines:
        return None
    kept = [i for i in range(len(COLUMNS)) if any(line.entries[i].values for line in lines)]
    lines = [replace(line, entries=[line.entries[i] for i in kept]) for line in lines]
    return View("Trust", ["model", "data", "settings"], [COLUMNS[i] for i in kept], lines, notes)


def make_entry(column: Column, found: Sequence[Mapping[str, object]], group: Group) -> Entry:
    """Make the entry of a column from the runs that have its number, beside the published one where there is one."""
    numbers = [find_nested(content, column.metric) for content in found]
    values = [column.scale * value for value in numbers if isinstance(value, int | float) and is_number(value)]
    printed = PUBLISHED.get((group.model, group.data), {}).get(column.metric)
    if printed is None or not values:
        return Entry(column, values)
    return Entry(column, values, published=float(printed), printed=printed, source=SOURCE)
