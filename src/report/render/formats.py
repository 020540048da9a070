"""A view as a grid of cells, and that as Markdown, LaTeX or plain text; for CSV, each number in its own column."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...text import table
from ..groups import Group
from ..views import Entry, Line, View, number
from .plot import cut


@dataclass(frozen=True)
class Cell:
    """What stands in a table: a text, what stands small below it, what it sorts by, and a verdict's word."""

    text: str
    under: Sequence[str] = ()
    value: float | None = None
    word: str = ""
    group: Group | None = None  # where the cell leads to


def grid(view: View) -> tuple[list[str], list[list[Cell]]]:
    """Heads and rows. The one judged column of a table is spread over five; several hold theirs in a cell each."""
    judged = [
        c.metric for c in view.columns if any(e.verdict for line in view.lines for e in line.entries if e.column is c)
    ]
    wide = judged[0] if len(judged) == 1 else None
    heads = list(view.keys)
    for column in view.columns:
        if column.metric == wide:
            heads += [f"published {column.title}", f"our {column.title}", "n", "difference", "verdict"]
        else:
            heads.append(column.title)
    if wide is None:
        heads.insert(len(view.keys), "n")
    return heads, [cells(line, wide) for line in view.lines]


def cells(line: Line, wide: str | None) -> list[Cell]:
    """The cells of a line; `wide`: the metric that is spread."""
    found = [Cell(line.keys[0], under=line.flags), *(Cell(key) for key in line.keys[1:])]
    for entry in line.entries:
        found += spread_out(entry, line.group) if entry.column.metric == wide else [packed(entry, line.group)]
    if wide is None:
        found[-len(line.entries) - 1] = Cell(line.keys[-1], under=line.reasons)
        count = line.group.n if line.group else 0
        found.insert(len(line.keys), Cell(str(count or ""), value=count, group=line.group))
    return found


def spread_out(entry: Entry, group: Group | None) -> list[Cell]:
    """published, ours, n, difference and verdict, each in its cell."""
    difference = "" if entry.difference is None else number(entry.difference, entry.column, "+")
    verdict = entry.verdict
    return [
        Cell(entry.printed, value=entry.published),
        Cell(entry.ours, value=entry.mean, group=group),
        Cell(str(len(entry.values) or ""), value=len(entry.values)),
        Cell(difference, value=entry.difference),
        Cell(str(verdict or ""), word=verdict.word if verdict else ""),
    ]


def packed(entry: Entry, group: Group | None) -> Cell:
    """One cell: ours, and below it what was published; where that is the very same, once."""
    if entry.mean is None:
        return Cell(f"({entry.printed})" if entry.printed else "", value=entry.published, word=word_of(entry))
    same = entry.ours == entry.printed
    difference = f" ({number(entry.difference, entry.column, '+')})" if entry.difference is not None else ""
    below = ["as published" if same else f"published {entry.printed}{difference}"] if entry.printed else []
    told = entry.verdict and entry.verdict.word != "not comparable"  # why not stands once, beside the runs
    below += [entry.verdict.reason] if entry.verdict and told and entry.verdict.reason else []
    return Cell(entry.ours, below, entry.mean, word_of(entry), group)


def word_of(entry: Entry) -> str:
    return entry.verdict.word if entry.verdict else ""


def flat_text(cell: Cell) -> str:
    """A cell on one line."""
    below = [cell.word if cell.word and not cell.text.startswith(cell.word) else "", *cell.under]
    told = "; ".join(filter(None, below))
    return f"{cell.text} [{told}]" if told and cell.text else cell.text or told


def plain_grid(view: View, longest: int = 1000) -> tuple[list[str], list[list[str]]]:
    """The grid as texts of one line each, with what to beware of in a column of its own."""
    heads, rows = grid(view)
    texts = [[cut(row[0].text, longest), *(cut(flat_text(cell), longest) for cell in row[1:])] for row in rows]
    if any(line.flags for line in view.lines):
        heads = [*heads, "beware"]
        texts = [[*row, cut("; ".join(line.flags), longest)] for row, line in zip(texts, view.lines, strict=True)]
    return heads, texts


def as_text(view: View) -> str:
    """The view for a terminal."""
    heads, rows = plain_grid(view, longest=32)
    return table([heads, *rows], left=len(view.keys))


def as_markdown(view: View) -> str:
    """A pipe table with its notes."""
    heads, rows = plain_grid(view)

    def line(texts: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for text in texts)
            + " |"
        )

    sides = ["---"] * len(view.keys) + ["---:"] * (len(heads) - len(view.keys))
    body = [line(row) for row in rows]
    return "\n".join([f"## {view.name}", "", line(heads), f"| {' | '.join(sides)} |", *body, "", *notes(view)]) + "\n"


def notes(view: View) -> list[str]:
    """The table's notes and those of its rows, as a list."""
    of_rows = dict.fromkeys(f"{line.keys[0]}: {note}" for line in view.lines for note in line.notes)
    return [f"* {note}" for note in [*view.notes, *of_rows]]


LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
    "×": r"$\times$", "…": r"\ldots{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def as_latex(view: View) -> str:
    """A booktabs table."""
    heads, rows = plain_grid(view)

    def line(texts: Sequence[str]) -> str:
        return " & ".join("".join(LATEX.get(sign, sign) for sign in text) for text in texts) + r" \\"

    sides = "l" * len(view.keys) + "r" * (len(heads) - len(view.keys))
    body = [line(row) for row in rows]
    return (
        "\n".join(
            [
                f"\\begin{{tabular}}{{{sides}}}",
                r"\toprule",
                line(heads),
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )
        + "\n"
    )


def as_rows(view: View) -> list[list[str | float]]:
    """The view for programs: every number unrounded, in a column of its own; the first row names them."""
    heads: list[str | float] = [key or "row" for key in view.keys]
    heads += ["n", "seeds", "stale runs"]
    for column in view.columns:
        heads += [f"{column.title} {what}" for what in ("mean", "std")]
        if view.compared:
            heads += [
                f"{column.title} {what}" for what in ("published", "difference", "verdict", "90 % low", "90 % high")
            ]
    found = [heads]
    for line in view.lines:
        group = line.group
        row: list[str | float] = list(line.keys)
        row += [group.n, " ".join(str(run.seed) for run in group.runs), group.stale] if group else [0, "", 0]
        for entry in line.entries:
            verdict = entry.verdict
            numbers = [entry.mean, entry.std]
            row += ["" if value is None else value for value in numbers]
            if view.compared:
                bounds = (verdict.low, verdict.high) if verdict else (None, None)
                compared = [entry.published, entry.difference, str(verdict or ""), *bounds]
                row += ["" if value is None else value for value in compared]
        found.append(row)
    return found
