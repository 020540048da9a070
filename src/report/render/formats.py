"""Lay a view out as a grid of cells, and format it as plain text, Markdown or LaTeX; for CSV, as rows of numbers."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...text import format_table
from ..entries import Entry, Line, View, format_number
from ..groups import Group
from ..protocol import ELSEWHERE, OURS, STATED
from .plot import shorten

REPEATED = 3  # keys that begin each block of a table that is parted: the network, the data and the settings
WHO = (STATED, ELSEWHERE, OURS)


EVIDENCE = {  # the columns of a verdict in CSV, and its fields
    "level of the interval": "level",
    "low": "low",
    "high": "high",
    "p": "p",
    "p over the table": "adjusted_p",
    "p of the match": "match_p",
    "p of the match over the table": "adjusted_match_p",
}


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, small lines below it, the value it sorts by, and its verdict's word."""

    text: str
    under: Sequence[str] = ()
    value: float | None = None
    word: str = ""
    group: Group | None = None  # whose runs the cell links to


def build_grid(view: View) -> tuple[list[str], list[list[Cell]]]:
    """Return the heads and rows of a view.

    A table with one judged column spreads it over five columns; one with several keeps each in a cell of its own.
    """
    judged = [
        c.metric for c in view.columns if any(e.verdict for line in view.lines for e in line.entries if e.column is c)
    ]
    wide = judged[0] if len(judged) == 1 else None
    heads = list(view.keys)
    for column in view.columns:
        if column.metric == wide:
            heads += [f"{view.source} {column.title}", f"our {column.title}", "n", "difference", "verdict"]
        else:
            heads.append(column.title)
    if wide is None:
        heads.insert(len(view.keys), "n")
    return heads, [build_cells(line, wide) for line in view.lines]


def build_cells(line: Line, wide: str | None) -> list[Cell]:
    """Build the cells of a line; `wide` is the metric that is spread over five of them."""
    cells = [Cell(line.keys[0], under=line.flags), *(Cell(key) for key in line.keys[1:])]
    for entry in line.entries:
        if entry.column.metric == wide:
            cells += spread_entry(entry, line.group)
        else:
            cells.append(pack_entry(entry, line.group))
    if wide is None:
        first = line.flags if len(line.keys) == 1 else ()
        cells[-len(line.entries) - 1] = Cell(line.keys[-1], under=[*first, *line.reasons])
        count = line.group.n if line.group else 0
        text = f"{count} of {line.group.started}" if line.group and line.group.lost else str(count or "")
        cells.insert(len(line.keys), Cell(text, value=count, group=line.group))
    return cells


def spread_entry(entry: Entry, group: Group | None) -> list[Cell]:
    """Put published, ours, n, difference and verdict into a cell each."""
    difference = "" if entry.difference is None else format_number(entry.difference, entry.column, "+")
    return [
        Cell(entry.printed, value=entry.published),
        Cell(entry.ours, value=entry.mean, group=group),
        Cell(group.count(entry.column.metric) if group and entry.values else "", value=len(entry.values)),
        Cell(difference, list_evidence(entry), value=entry.difference),
        Cell(str(entry.verdict or ""), word=get_word(entry)),
    ]


def pack_entry(entry: Entry, group: Group | None) -> Cell:
    """Put ours into one cell with the published number below it, or with a remark where the two read the same."""
    if entry.mean is None:
        return Cell(f"({entry.printed})" if entry.printed else "", value=entry.published, word=get_word(entry))
    under = []
    if entry.printed and entry.ours == entry.printed:
        under.append(f"as {entry.source}")
    elif entry.printed and entry.published is not None and is_rounded(entry.mean, entry.published):
        under.append(f"{entry.source} {entry.printed}")
    elif entry.printed:
        difference = "" if entry.difference is None else f" ({format_number(entry.difference, entry.column, '+')})"
        under.append(f"{entry.source} {entry.printed}{difference}")
    if entry.verdict and entry.verdict.reason and entry.verdict.word != "not comparable":
        under.append(entry.verdict.reason)  # why a line is not comparable stands once, beside its runs
    under += list_evidence(entry)
    return Cell(entry.ours, under, entry.mean, get_word(entry), group)


def is_rounded(value: float, published: float) -> bool:
    """Tell whether a published number is ours in fewer digits: 1.7 for 1.73."""
    decimals = len(str(published).partition(".")[2])
    return round(value, decimals) == published


def list_evidence(entry: Entry) -> list[str]:
    """Return the interval and the p values of an entry's verdict as a line; [] where nothing was tested."""
    return [entry.verdict.evidence] if entry.verdict and entry.verdict.evidence else []


def get_word(entry: Entry) -> str:
    """Return the word of an entry's verdict; "" for one that is not judged."""
    return entry.verdict.word if entry.verdict else ""


def flatten_cell(cell: Cell) -> str:
    """Write a cell on one line."""
    under = [cell.word if cell.word and not cell.text.startswith(cell.word) else "", *cell.under]
    remarks = "; ".join(filter(None, under))
    return f"{cell.text} [{remarks}]" if remarks and cell.text else cell.text or remarks


def flatten_grid(view: View, longest: int = 1000) -> tuple[list[str], list[list[str]]]:
    """Return the grid as texts of one line each, with the warnings in a column of their own."""
    heads, rows = build_grid(view)
    texts = [
        [shorten(row[0].text, longest), *(shorten(flatten_cell(cell), longest) for cell in row[1:])] for row in rows
    ]
    if any(line.flags for line in view.lines):
        heads = [*heads, "beware"]
        texts = [[*row, shorten("; ".join(line.flags), longest)] for row, line in zip(texts, view.lines, strict=True)]
    return heads, texts


def format_text(view: View, width: int | None = None) -> str:
    """Format the view for a terminal; one wider than `width` is parted into blocks of columns, one below the other."""
    view, same = fold_constant_keys(view)
    heads, rows = flatten_grid(view, longest=32 if width is None else max(width // 2, 32))
    blocks = part_columns([heads, *rows], len(view.keys), width)
    return "\n\n".join(blocks) + (f"\n{textwrap.fill(same, width) if width else same}" if same else "")


def fold_constant_keys(view: View) -> tuple[View, str]:
    """Return the view without the keys that are alike in all of its lines, and a sentence with those.

    A study's table keeps them all, and so does one of a single line.
    """
    values = [{line.keys[i] for line in view.lines} for i in range(len(view.keys))]
    alike = [i for i, found in enumerate(values) if i and len(found) == 1 and len(view.lines) > 1 and not view.compared]
    if not alike:
        return view, ""

    def keep(keys: Sequence[str]) -> list[str]:
        return [key for i, key in enumerate(keys) if i not in alike]

    shared = ", ".join(f"{view.keys[i]} {view.lines[0].keys[i]}" for i in alike if view.lines[0].keys[i])
    lines = [replace(line, keys=keep(line.keys)) for line in view.lines]
    return replace(view, keys=keep(view.keys), lines=lines), f"The same in every row: {shared}" if shared else ""


def part_columns(table: Sequence[Sequence[str]], left: int, width: int | None) -> list[str]:
    """Format a table as blocks of columns that fit the width; the first keys, of `left`, begin each of them."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    if width is None or sum(widths) + 2 * (len(widths) - 1) <= width:
        return [format_table(table, left=left)]
    kept = min(left, REPEATED)
    whole = sum(widths[:kept]) + 2 * kept <= 0.6 * width
    longest = max(widths) if whole else max(8, int(0.6 * width) // kept - 2)
    names = [[shorten(cell, longest) for cell in row[:kept]] for row in table]
    taken = sum(max(len(row[i]) for row in names) + 2 for i in range(kept))
    blocks: list[list[int]] = [[]]
    for i in range(kept, len(widths)):
        if blocks[-1] and taken + sum(widths[k] + 2 for k in [*blocks[-1], i]) - 2 > width:
            blocks.append([])
        blocks[-1].append(i)
    return [
        format_table(
            [[*own, *(row[i] for i in block)] for own, row in zip(names, table, strict=True)],
            left=kept + sum(i < left for i in block),
        )
        for block in blocks
    ]


def format_markdown(view: View) -> str:
    """Format the view as a pipe table with its notes."""
    heads, rows = flatten_grid(view)

    def write_line(texts: Sequence[str]) -> str:
        escaped = [text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for text in texts]
        return f"| {' | '.join(escaped)} |"

    sides = ["---"] * len(view.keys) + ["---:"] * (len(heads) - len(view.keys))
    lines = [f"## {view.name}", "", write_line(heads), write_line(sides), *map(write_line, rows), ""]
    notes = [*list_notes(view), *(f"{who}: {what}" for _, who, what in describe_protocol(view))]
    return "\n".join([*lines, *(f"* {note}" for note in notes)]) + "\n"


def describe_protocol(view: View) -> list[tuple[str, str, str]]:
    """Describe how the runs of a table are trained: stated, elsewhere or ours, who says so in words, and what."""
    settings: dict[tuple[str, str], list[str]] = {}
    for each in sorted(view.protocol, key=lambda each: WHO.index(each.by)):
        settings.setdefault((each.by, each.source), []).append(f"{each.name}={each.value}")
    heads = {
        STATED: "Stated by the study",
        ELSEWHERE: "Stated by {source}",
        OURS: "Ours, where no source says anything",
    }
    return [(by, heads[by].format(source=source), ", ".join(values)) for (by, source), values in settings.items()]


def list_notes(view: View) -> list[str]:
    """List the table's notes, then those of its rows."""
    of_rows = dict.fromkeys(f"{line.keys[0]}: {note}" for line in view.lines for note in line.notes)
    return [*view.notes, *of_rows]


LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
    "×": r"$\times$", "…": r"\ldots{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def format_latex(view: View) -> str:
    """Format the view as a booktabs table."""
    heads, rows = flatten_grid(view)

    def write_line(texts: Sequence[str]) -> str:
        return " & ".join("".join(LATEX.get(sign, sign) for sign in text) for text in texts) + r" \\"

    sides = "l" * len(view.keys) + "r" * (len(heads) - len(view.keys))
    lines = [f"\\begin{{tabular}}{{{sides}}}", r"\toprule", write_line(heads), r"\midrule", *map(write_line, rows)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def build_rows(view: View) -> list[list[str | float]]:
    """Return the view for programs: every number unrounded, in a column of its own that the first row names."""
    heads: list[str | float] = [key or "row" for key in view.keys]
    heads += ["n", "started", "seeds", "stale runs"]
    kinds = ["mean", "std"]
    kinds += ["published", "difference", "verdict", *EVIDENCE] if view.compared else []
    heads += [f"{column.title} {kind}" for column in view.columns for kind in kinds]
    rows = [heads]
    for line in view.lines:
        group = line.group
        row: list[str | float] = list(line.keys)
        seeds = " ".join(str(run.seed) for run in group.runs) if group else ""
        row += [group.n, group.started, seeds, group.stale] if group else [0, 0, "", 0]
        for entry in line.entries:
            verdict = entry.verdict
            cells: list[str | float | None] = [entry.mean, entry.std]
            if view.compared:
                tested = [getattr(verdict, name, None) for name in EVIDENCE.values()]
                cells += [entry.published, entry.difference, str(verdict or ""), *tested]
            row += ["" if value is None else value for value in cells]
        rows.append(row)
    return rows
