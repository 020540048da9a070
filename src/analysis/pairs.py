"""Tell duplicates of a data set apart: inside a split, across splits (a leak), and with different labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..data.base import DataModule
from ..data.resident.module import ImageData
from ..report.render.page import count
from .audit_pictures import resize
from .duplicates import SMALLEST, Pair, find_duplicates
from .logits import collect_pictures, list_labels, name_pictures
from .sheet import Picture, Row, Section, make_picture

SHOWN = 12  # pairs of a kind


@dataclass(frozen=True)
class Shown:
    """The pictures that pairs are of: thumbnails [N, S, S, C], splits, names, labels (none: empty) and class names."""

    thumbnails: np.ndarray
    splits: Sequence[str]
    names: Sequence[str]
    labels: np.ndarray
    classes: Sequence[str]

    def name_class(self, number: int) -> str:
        return self.classes[self.labels[number]] if len(self.labels) else ""

    def draw(self, number: int, *lines: str) -> Picture:
        """Make the picture of a number, with the lines below it."""
        return make_picture(self.thumbnails[number], [*filter(None, lines)], self.names[number])


def is_leak(pair: Pair, shown: Shown) -> bool:
    """Return whether the two pictures lie in different splits."""
    return shown.splits[pair.first] != shown.splits[pair.second]


def is_contradiction(pair: Pair, shown: Shown) -> bool:
    """Return whether the two pictures have different labels."""
    return bool(len(shown.labels)) and shown.labels[pair.first] != shown.labels[pair.second]


def find_pairs(data: DataModule, *, always: bool) -> tuple[list[Pair], Shown] | None:
    """Find the duplicates in all splits of a run's data; None where its photos would have to be decoded for it.

    ``always`` decodes them.
    """
    if not (always or isinstance(data, ImageData)):
        return None
    parts = {split: resize(collect_pictures(data, split).numpy()) for split in data.sizes}
    labels = np.concatenate([list_labels(data, split).numpy() for split in parts])
    splits = [split for split, part in parts.items() for _ in range(len(part))]
    names = [name for split, part in parts.items() for name in name_pictures(data, split, np.arange(len(part)))]
    thumbnails = np.concatenate(list(parts.values()))
    exact = data.info.image_size < SMALLEST
    return find_duplicates(torch.from_numpy(thumbnails), exact=exact), Shown(
        thumbnails, splits, names, labels, data.info.classes
    )


def list_pairs(pairs: Sequence[Pair], shown: Shown) -> list[list[object]]:
    """List pairs as rows of a CSV file, the surest first."""
    rows: list[list[object]] = [["first", "second", "score", "first class", "second class", "kind"]]
    for pair in sorted(pairs, key=lambda pair: (-pair.score, pair.first, pair.second)):
        kind = "across splits" if is_leak(pair, shown) else "inside a split"
        classes = [shown.name_class(number) for number in (pair.first, pair.second)]
        rows.append([shown.names[pair.first], shown.names[pair.second], f"{pair.score:.3f}", *classes, kind])
    return rows


def make_pair_sections(pairs: Sequence[Pair], shown: Shown, file: str) -> list[Section]:
    """Make the sections of a page: leaks between splits, contradictory labels, and duplicates inside of a split."""
    leaks = [pair for pair in pairs if is_leak(pair, shown)]
    contradictions = [pair for pair in pairs if is_contradiction(pair, shown)]
    inside = [pair for pair in pairs if not is_leak(pair, shown)]
    kinds = (
        (
            "Leaks between splits",
            leaks,
            "What is tested on was also trained or chosen on; such pictures score for nothing.",
        ),
        ("The same picture with different labels", contradictions, "At least one label of each pair is wrong."),
        ("Duplicates inside a split", inside, "They count twice."),
    )
    sections = []
    for title, found, why in kinds:
        numbers = {number for pair in found for number in (pair.first, pair.second)}
        lead = f"{count(len(found), 'pair')} of {count(len(numbers), 'picture')}. {why}" if found else "None."
        sections.append(
            Section(title, [lead], rows=[make_row(found, shown)] if found else [], files=[file] if found else [])
        )
    return sections


def make_row(pairs: Sequence[Pair], shown: Shown) -> Row:
    """Make the pictures of the surest pairs, the two of a pair side by side."""
    best = sorted(pairs, key=lambda pair: (-pair.score, pair.first, pair.second))[:SHOWN]
    return Row([draw(pair, number, shown) for pair in best for number in (pair.first, pair.second)])


def draw(pair: Pair, number: int, shown: Shown) -> Picture:
    """Draw one of a pair."""
    return shown.draw(
        number, shown.name_class(number) or shown.splits[number], shown.names[number], f"score {pair.score:.2f}"
    )
