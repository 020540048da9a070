"""Audit a data set before any training: broken files, duplicates, leaks, doubtful labels, balance, sizes and modes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..config.data import DataConfig
from ..errors import UserError
from ..report.render.page import count
from .audit_pictures import Pictures, read_pictures
from .duplicates import SMALLEST, Pair, find_duplicates, find_equal
from .label_suspects import choose_suspects, score_labels
from .logits import collect_pictures, name_pictures
from .mistakes import find_suspects, judge
from .pairs import Shown, is_contradiction, is_leak, list_pairs, make_pair_sections
from .sheet import Cell, Row, Section, Table, make_picture, render_sheet, write_sheet_with_tables

SHOWN = 24  # suspects
MOST_JUDGED = 100_000  # pictures, for their features lie in memory
FEWEST_JUDGED = 100
WEAK = 0.65  # agreement with the labels below which the doubts are worth little


@dataclass(frozen=True)
class Suspect:
    """A picture whose label is doubted: its name and thumbnail, both classes, and the probability of the label.

    Where a run doubts, the probability is what it leaves for all classes but the one that it names.
    """

    name: str
    pixels: np.ndarray
    label: str
    other: str
    probability: float


@dataclass(frozen=True)
class Audit:
    """What an audit found; ``judge`` says who doubted the labels, or why nobody did."""

    pictures: Pictures
    shown: Shown
    pairs: Sequence[Pair]
    suspects: Sequence[Suspect]
    judge: str

    @property
    def leaks(self) -> int:
        return sum(is_leak(pair, self.shown) for pair in self.pairs)

    @property
    def sound(self) -> bool:
        """Whether no file is broken and no picture lies in two splits."""
        return not (self.pictures.broken or self.leaks)


def audit(config: DataConfig, *, run: Path | None, most: float, seed: int) -> Audit:
    """Audit a data set; the labels are judged by the network of a run, or without one by all other pictures."""
    pictures = read_pictures(config)
    thumbnails = torch.from_numpy(pictures.thumbnails)
    pairs = find_duplicates(thumbnails, exact=is_tiny(pictures))
    known = {(pair.first, pair.second) for pair in pairs}
    pairs += find_equal(pictures.digests, lambda first, second: (first, second) in known)
    shown = Shown(pictures.thumbnails, pictures.splits, pictures.names, pictures.labels, pictures.classes)
    suspects, judged_by = ask_run(run, config) if run else ask_pictures(pictures, shown, most, seed)
    return Audit(pictures, shown, pairs, suspects, judged_by)


def is_tiny(pictures: Pictures) -> bool:
    """Return whether most pictures are too small for a shifted copy to be told from another of the same kind."""
    return bool(np.median([min(width, height) for width, height, _ in pictures.forms]) < SMALLEST)


def ask_pictures(pictures: Pictures, shown: Shown, most: float, seed: int) -> tuple[list[Suspect], str]:
    """Let each picture be judged by all others."""
    total, labels = len(pictures.labels), torch.from_numpy(pictures.labels)
    if not total:
        return [], "Nobody: a picture of this set has not one class."
    if not FEWEST_JUDGED <= total <= MOST_JUDGED:
        return [], f"Nobody: that takes {FEWEST_JUDGED} to {MOST_JUDGED:,} pictures; a trained run judges with run=…"
    images, classes = torch.from_numpy(pictures.thumbnails), len(pictures.classes)
    probabilities = score_labels(images, labels, num_classes=classes, seed=seed)
    right = float((probabilities.argmax(dim=1) == labels).double().mean())
    found = []
    for k in choose_suspects(probabilities, labels, most).tolist():
        other = pictures.classes[int(probabilities[k].argmax())]
        own = float(probabilities[k, labels[k]])
        found.append(Suspect(pictures.names[k], pictures.thumbnails[k], shown.name_class(k), other, own))
    weak = " That is little: most of these labels will be right." if right < WEAK else ""
    return found, (
        "All other pictures: ridge regression on pooled answers of whitened patches (32 x 32 pixels), which without a "
        f"picture's own label agrees with it for {100 * right:.1f} % of them.{weak} No trained network was asked; "
        f"one of yours (run=…) knows better. At most {100 * most:g} % of the pictures are named."
    )


def ask_run(run: Path, config: DataConfig) -> tuple[list[Suspect], str]:
    """Let the network of a run judge the pictures that it was not trained on."""
    found: list[Suspect] = []
    seen = 0
    overrides = [f"data.root={config.root}"] if config.root else []
    for split in ("val", "test"):
        try:
            judged, assembly = judge([run], split, overrides)
        except UserError:
            if split == "test":
                raise
            continue
        if assembly.config.data.name != config.name:
            raise UserError(f"run={run}: was trained on data={assembly.config.data.name}, not on data={config.name}")
        places, data = find_suspects(judged), assembly.data
        seen += len(judged.label)
        pixels = collect_pictures(data, split, judged.index[places]).numpy()
        names = name_pictures(data, split, judged.index[places])
        for place, picture, name in zip(places.tolist(), pixels, names, strict=True):
            label, other = (data.info.classes[each[place]] for each in (judged.label, judged.prediction))
            found.append(Suspect(name, picture, label, other, 1 - float(judged.confidence[place])))
    return found, f"The network of {run}, of the {seen:,} validation and test pictures that it was not trained on."


def write_audit(found: Audit, name: str, out: Path) -> Path:
    """Write the page and its CSV files into a folder, and return the page's path; UserError where it cannot be."""
    pictures, shown = found.pictures, found.shown
    suspects = [["picture", "label", "more probable", "probability of the label"]]
    suspects += [[each.name, each.label, each.other, f"{each.probability:.4f}"] for each in found.suspects]
    classes, forms = tabulate_classes(pictures), tabulate_forms(pictures)
    files: dict[str, list[Sequence[object]]] = {
        "broken.csv": [["file", "why"], *pictures.broken],
        "duplicates.csv": list(list_pairs(found.pairs, shown)),
        "suspects.csv": list(suspects),
        "classes.csv": [classes.heads, *([cell.text for cell in row] for row in classes.rows)],
        "forms.csv": [forms.heads, *([cell.text for cell in row] for row in forms.rows)],
    }
    broken = Table(["file", "why"], [[Cell(a), Cell(b)] for a, b in pictures.broken[:100]], words=["file", "why"])
    sections = [
        Section(
            "Broken files",
            [f"{count(len(pictures.broken), 'file')}." if pictures.broken else "None."],
            broken if pictures.broken else None,
            files=["broken.csv"],
        ),
        *make_pair_sections(found.pairs, shown, "duplicates.csv"),
        make_suspect_section(found),
        Section("Classes", table=classes, files=["classes.csv"]),
        Section("Sizes and modes", table=forms, files=["forms.csv"]),
    ]
    html = render_sheet(f"Audit · {name}", summarize(found), sections, [pictures.left_out] if pictures.left_out else [])
    return write_sheet_with_tables(out, html, files)


def make_suspect_section(found: Audit) -> Section:
    """Make the section of doubtful labels, with pictures of the first."""
    shown = [
        make_picture(each.pixels, [each.label, f"rather {each.other}?", f"p {each.probability:.3f}"], each.name)
        for each in found.suspects[:SHOWN]
    ]
    named = f"{len(found.suspects):,} of {len(found.pictures):,} pictures, the least probable label first."
    leads = [named if found.suspects else "None.", f"Judged by: {found.judge}"]
    return Section("Doubtful labels", leads, rows=[Row(shown)] if shown else [], files=["suspects.csv"])


def summarize(found: Audit) -> list[str]:
    """Say in sentences what was found; the first tells whether the set is sound."""
    pictures, broken = found.pictures, len(found.pictures.broken)
    contradictions = sum(is_contradiction(pair, found.shown) for pair in found.pairs)
    faults = [count(broken, "broken file")] if broken else []
    faults += [f"{count(found.leaks, 'leak')} between splits"] if found.leaks else []
    sizes = ", ".join(f"{n:,} {split}" for split, n in Counter(pictures.splits).items())
    inside = len(found.pairs) - found.leaks
    return [
        " and ".join(faults).capitalize() if faults else "No broken file, and no picture in two splits",
        f"{len(pictures):,} pictures: {sizes}.",
        f"{count(inside, 'pair')} of duplicates inside a split, {count(contradictions, 'pair')} with different labels, "
        f"{count(len(found.suspects), 'doubtful label')}.",
    ]


def tabulate_classes(pictures: Pictures) -> Table:
    """Count the pictures of each class and split."""
    splits = list(dict.fromkeys(pictures.splits))
    if not len(pictures.labels):
        counts = Counter(pictures.splits)
        return Table(["split", "pictures"], [[Cell(s), Cell(f"{counts[s]:,}", counts[s])] for s in splits], ["split"])
    own = np.array(pictures.splits)
    rows = []
    for k, name in enumerate(pictures.classes):
        numbers = [int(((pictures.labels == k) & (own == split)).sum()) for split in splits]
        share = sum(numbers) / len(pictures)
        rows.append([Cell(name), *(Cell(f"{n:,}", n) for n in numbers), Cell(f"{100 * share:.1f} %", share)])
    return Table(["class", *splits, "of all"], rows, ["class"])


def tabulate_forms(pictures: Pictures) -> Table:
    """Count the pictures of each mode, with their range of sizes."""
    rows = []
    modes = Counter(mode for _, _, mode in pictures.forms)
    for mode, total in modes.most_common():
        widths, heights = zip(*((w, h) for w, h, m in pictures.forms if m == mode), strict=True)
        sizes = [
            f"{min(some)} to {max(some)}" if min(some) < max(some) else str(min(some)) for some in (widths, heights)
        ]
        rows.append([Cell(mode), Cell(f"{total:,}", total), *(Cell(size) for size in sizes)])
    return Table(["mode", "pictures", "width", "height"], rows, ["mode"])
