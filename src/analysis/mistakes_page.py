"""Write what a run gets wrong as a page and as CSV files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..report.render.page import count
from ..training.assemble import Assembly
from .duplicates import Pair
from .logits import collect_pictures, name_pictures
from .mistakes import Judged, find_suspects, rank_confusions, rank_mistakes, tabulate_classes
from .pairs import Shown, list_pairs, make_pair_sections
from .sheet import Cell, Picture, Row, Section, Table, make_picture, render_sheet, write_sheet_with_tables

SHOWN, PAIRS, OF_A_PAIR = 24, 6, 6  # pictures of a list, confused pairs, and pictures of each


def write_mistakes(
    judged: Judged, assembly: Assembly, runs: Sequence[Path], duplicates: tuple[Sequence[Pair], Shown] | None, out: Path
) -> Path:
    """Write the page and its CSV files into a folder, and return the page's path; UserError where it cannot be."""
    classes = assembly.data.info.classes
    mistakes, suspects, confusions = rank_mistakes(judged), find_suspects(judged), rank_confusions(judged)
    table = tabulate_classes(judged, classes)
    sections = [
        Section(
            "The surest mistakes",
            [f"{len(mistakes):,} of {len(judged.label):,} pictures are given another class."],
            rows=[Row(draw(judged, assembly, mistakes[:SHOWN]))],
            files=["mistakes.csv"],
        ),
        make_confusion_section(judged, assembly, confusions),
        make_suspect_section(judged, assembly, suspects),
        *(make_pair_sections(*duplicates, "duplicates.csv") if duplicates else []),
        Section("Classes", table=make_class_table(table), files=["classes.csv"]),
    ]
    files: dict[str, list[Sequence[object]]] = {
        "mistakes.csv": list_places(judged, assembly, mistakes),
        "suspects.csv": list_places(judged, assembly, suspects),
        "confusions.csv": [
            ["label", "prediction", "pictures"],
            *([classes[label], classes[other], len(places)] for label, other, places in confusions),
        ],
        "classes.csv": [list(table[0]), *(list(row.values()) for row in table)],
    }
    if duplicates:
        files["duplicates.csv"] = list(list_pairs(*duplicates))
    config = assembly.config
    html = render_sheet(f"Mistakes · {config.model.name} on {config.data.name}", summarize(judged, runs), sections)
    return write_sheet_with_tables(out, html, files)


def summarize(judged: Judged, runs: Sequence[Path]) -> list[str]:
    """Say in sentences who judged what, and how much of it is wrong."""
    wrong = int(judged.wrong.sum())
    voters = f"{len(runs)} runs, whose confidences are added" if len(runs) > 1 else "One run"
    sentences = [
        f"{wrong:,} of {len(judged.label):,} {judged.split} pictures are wrong "
        f"({100 * wrong / len(judged.label):.2f} %)",
        f"{voters}: {', '.join(map(str, runs))}.",
    ]
    if judged.split == "train":
        sentences.append(
            "The networks were trained on these pictures: a label that they have learnt by heart is not doubted."
        )
    return sentences


def draw(judged: Judged, assembly: Assembly, places: np.ndarray) -> list[Picture]:
    """Draw pictures of a split with their label, what they are taken for, and how surely."""
    classes, numbers = assembly.data.info.classes, judged.index[places]
    pixels = collect_pictures(assembly.data, judged.split, numbers).numpy()
    names = name_pictures(assembly.data, judged.split, numbers)
    return [
        make_picture(
            picture,
            [
                f"{classes[judged.label[k]]} → {classes[judged.prediction[k]]}",
                f"{100 * judged.confidence[k]:.1f} %",
                name,
            ],
            f"{name}: {classes[judged.label[k]]}, taken for {classes[judged.prediction[k]]}",
        )
        for k, picture, name in zip(places.tolist(), pixels, names, strict=True)
    ]


def make_confusion_section(
    judged: Judged, assembly: Assembly, confusions: Sequence[tuple[int, int, np.ndarray]]
) -> Section:
    """Make the section of the most confused pairs of classes, with their surest pictures."""
    classes = assembly.data.info.classes
    rows = [
        Row(draw(judged, assembly, places[:OF_A_PAIR]), f"{classes[label]} → {classes[other]}: {len(places):,}")
        for label, other, places in confusions[:PAIRS]
    ]
    return Section(
        "The most confused classes",
        ["The label, what it is taken for, and how often."],
        rows=rows,
        files=["confusions.csv"],
    )


def make_suspect_section(judged: Judged, assembly: Assembly, suspects: np.ndarray) -> Section:
    """Make the section of labels that are doubted."""
    who = f"All {judged.runs} runs name another class" if judged.runs > 1 else "The network names another class"
    lead = f"{count(len(suspects), 'picture')}. {who}, surely. A sure network can be wrong: look before you correct."
    rows = [Row(draw(judged, assembly, suspects[:SHOWN]))] if len(suspects) else []
    return Section("Doubtful labels", [lead], rows=rows, files=["suspects.csv"])


def make_class_table(rows: Sequence[dict[str, object]]) -> Table:
    """Make the table of the classes for the page."""
    cells = [[make_cell(value) for value in row.values()] for row in rows]
    return Table(list(rows[0]), cells, words=["class", "most often taken for"])


def make_cell(value: object) -> Cell:
    """Make a cell of a word, a count, or a fraction in per cent."""
    if isinstance(value, float):
        return Cell(f"{100 * value:.1f} %", value)
    return Cell(f"{value:,}", value) if isinstance(value, int) else Cell(str(value))


def list_places(judged: Judged, assembly: Assembly, places: np.ndarray) -> list[Sequence[object]]:
    """List pictures as rows of a CSV file."""
    classes, numbers = assembly.data.info.classes, judged.index[places]
    rows: list[Sequence[object]] = [["index", "picture", "label", "prediction", "confidence", "runs against the label"]]
    for k, name in zip(places.tolist(), name_pictures(assembly.data, judged.split, numbers), strict=True):
        names = classes[judged.label[k]], classes[judged.prediction[k]]
        rows.append([int(judged.index[k]), name, *names, f"{judged.confidence[k]:.4f}", int(judged.against[k])])
    return rows
