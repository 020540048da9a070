"""Ask what a test error hides: test images that training has seen, wrong labels, and confidence that is not earned.

Everything is counted from the stored predictions of finished runs (test_predictions.npz), so nothing is trained anew.
docs/health.md says what each number means.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.console import name_commands
from ..errors import UserError
from ..tasks.table import has_single_class
from .defaults import find_nested, format_settings, shorten_names
from .entries import Entry, Line, View
from .groups import Group
from .predictions import Predictions, read_predictions
from .published import Column
from .result import read_csv
from .twins import SETS, Twin, read_twins

if TYPE_CHECKING:
    import numpy as np

BINS = 15  # of confidence, equally wide, as Guo et al. (2017) have them


ECE_NOTE = (
    "ECE: the expected calibration error, the mean over images of |confidence - accuracy| of the image's bin of "
    f"{BINS} equal bins of confidence; chance alone keeps it above 0, the more so the fewer the images"
)


COLUMNS = (
    Column("error", "test error %", better="lower", scale=100),
    Column("unseen_error", "error % without twins", better="lower", scale=100),
    Column("corrected_error", "error % with corrected labels", better="lower", scale=100),
    Column("confidence", "mean confidence %", better="none", scale=100),
    Column("ece", "ECE %", better="lower", scale=100),
)


@dataclass(frozen=True)
class Bin:
    """The test images of a range of confidence: their mean confidence, their accuracy and their number."""

    confidence: float
    accuracy: float
    n: int


def bin_confidences(confidence: "np.ndarray", right: "np.ndarray") -> list[Bin]:
    """Sort predictions into BINS equal ranges of confidence, and return the ranges that hold any, in order."""
    import numpy as np

    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)  # of (0, 1/15], (1/15, 2/15] …
    members = [place == k for k in range(BINS)]
    return [Bin(float(confidence[m].mean()), float(right[m].mean()), int(m.sum())) for m in members if m.any()]


def compute_ece(bins: Sequence[Bin]) -> float:
    """Compute the expected calibration error: the mean over images of |confidence - accuracy| of the image's bin."""
    return sum(b.n * abs(b.confidence - b.accuracy) for b in bins) / sum(b.n for b in bins)


def measure_health(found: Predictions, twins: Sequence[Twin], labels: Mapping[int, int]) -> dict[str, float]:
    """Compute the numbers of COLUMNS from a test's predictions.

    A number is missing where no image of the test has a twin, or where `labels`, by the image's number, are of none.
    """
    import numpy as np

    wrong = found.prediction != found.label
    numbers = {
        "error": float(wrong.mean()),
        "confidence": float(found.confidence.mean()),
        "ece": compute_ece(bin_confidences(found.confidence.astype(np.float64), ~wrong)),
    }
    unseen = ~np.isin(found.index, [twin.test for twin in twins])
    if 0 < unseen.sum() < len(unseen):
        numbers["unseen_error"] = float(wrong[unseen].mean())
    if np.isin(found.index, list(labels)).any():
        true = [labels.get(i, label) for i, label in zip(found.index.tolist(), found.label.tolist(), strict=True)]
        numbers["corrected_error"] = float((found.prediction != np.array(true)).mean())
    return numbers


@dataclass(frozen=True)
class Tested:
    """A group, the test predictions of its runs, and the twins that are known among the images."""

    group: Group
    predictions: Sequence[Predictions]
    twins: Sequence[Twin]


def collect_tested(groups: Iterable[Group]) -> tuple[list[Tested], list[str]]:
    """Read the predictions of each group whose images have one class; leave out groups without any.

    Also return a sentence for each file that cannot be read, whose run these numbers lack.
    """
    tested: list[Tested] = []
    unread: list[str] = []
    for group in groups:
        found = []
        for run in group.runs if has_single_class(group.task) else []:
            try:
                found.append(read_predictions(run.path / "test_predictions.npz"))
            except UserError as error:
                unread.append(f"The health of the test set lacks a run: {error}")
        if known := [predictions for predictions in found if predictions]:
            tested.append(Tested(group, known, select_twins(group, known[0])))
    return tested, unread


def select_twins(group: Group, found: Predictions) -> list[Twin]:
    """Return the known twins of a group's data; [] where the numbers of the images are not the published ones."""
    twins = read_twins(group.data, find_nested(group.runs[0].config, "data.root"))
    label = dict(zip(found.index.tolist(), found.label.tolist(), strict=True))
    return twins if all(label.get(twin.test, twin.label) == twin.label for twin in twins) else []


def build_health_view(tested: Sequence[Tested], labels: Mapping[int, int] | None = None) -> View | None:
    """Build the table of the test sets' health, a row for each group with predictions; None where there is none.

    `labels` are corrected ones, by the number of the test image. UserError where they do not fit these runs.
    """
    if labels:
        check_labels(labels, tested)
    lines = []
    for each in tested:
        numbers = [measure_health(found, each.twins, labels or {}) for found in each.predictions]
        values = [[column.scale * n[column.metric] for n in numbers if column.metric in n] for column in COLUMNS]
        entries = [Entry(column, own) for column, own in zip(COLUMNS, values, strict=True)]
        settings = " ".join(format_settings(shorten_names(each.group.label_settings)))
        keys = [each.group.model, each.group.title, settings]
        lines.append(Line(keys, each.group, entries))
    notes = [describe_twins(each) for each in tested]
    if labels and tested:
        notes.append(describe_labels(labels, tested[0].predictions[0]))
    notes = list(dict.fromkeys(filter(None, [*notes, ECE_NOTE])))
    kept = [i for i in range(len(COLUMNS)) if any(line.entries[i].values for line in lines)]
    lines = [replace(line, entries=[line.entries[i] for i in kept]) for line in lines]
    columns = [COLUMNS[i] for i in kept]
    return View("Health of the test set", ["model", "data", "settings"], columns, lines, notes) if lines else None


def describe_twins(tested: Tested) -> str:
    """Say how many test images have a twin, or how to find them; "" for a set whose twins nobody seeks."""
    data, found = tested.group.data, tested.predictions[0]
    if tested.twins:
        some = len({twin.test for twin in tested.twins} & set(found.index.tolist()))
        return (
            f"Twins: {some:,} of {len(found.index):,} test images of {data} show the same picture as a training image, "
            "which may be shifted, mirrored, enlarged or recoloured (docs/health.md)"
        )
    if data in SETS and "data.classes" not in tested.group.settings:
        return name_commands(
            f"The twins of {data} are not known yet: python -m src.report.twins data={data} finds them"
        )
    return ""


def read_labels(path: Path) -> dict[int, int]:
    """Read corrected labels, a CSV file with the columns index and label; UserError says which line is wrong."""
    lines = read_csv(path, foreign=True)
    if not lines:
        raise UserError(f"labels={path}: no such file, or not CSV; its first line is index,label")
    if lines[0] != ["index", "label"]:
        raise UserError(f"labels={path}: its first line is {','.join(lines[0])[:60]}; index,label is needed")
    labels: dict[int, int] = {}
    for number, line in enumerate(lines[1:], 2):
        if len(line) != 2 or not all(cell.isascii() and cell.isdecimal() for cell in line):
            raise UserError(f"labels={path}: line {number}: two whole numbers are needed, an image's and its class's")
        index, label = map(int, line)
        if index in labels:
            raise UserError(f"labels={path}: line {number}: image {index} has a label already")
        labels[index] = label
    return labels


def check_labels(labels: Mapping[int, int], tested: Sequence[Tested]) -> None:
    """Raise UserError where corrected labels cannot be of these runs' test images."""
    names = list(dict.fromkeys(each.group.data for each in tested))
    if len(names) != 1:
        raise UserError(f"labels=: these runs are of {', '.join(names) or 'no classes'}; narrow runs= to one data set")
    images = max(int(found.index.max()) for each in tested for found in each.predictions) + 1
    classes = max(int(found.label.max()) for each in tested for found in each.predictions) + 1
    for index, label in labels.items():
        if index >= images or label >= classes:
            raise UserError(
                f"labels=: image {index} with class {label}: {names[0]} has test images 0 to {images - 1} "
                f"and classes 0 to {classes - 1}"
            )


def describe_labels(labels: Mapping[int, int], found: Predictions) -> str:
    """Say how many labels the user's file changes."""
    own = dict(zip(found.index.tolist(), found.label.tolist(), strict=True))
    changed = sum(own.get(index, label) != label for index, label in labels.items())
    return f"Corrected labels: {len(labels):,} in the file, {changed:,} of them other than the set's own"
