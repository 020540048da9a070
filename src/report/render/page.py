"""The report as one HTML file that needs nothing else: no network, no scripts or styles beside it.

This module lays out what the page shows; page.html.j2 holds the markup, and jinja escapes every value there.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..bundle import PackedRun, pack_rows
from ..claims import ClaimVerdict, StepVerdict
from ..defaults import format_settings
from ..entries import View
from ..families import MARGIN
from ..groups import Collected, Group
from ..result import Result, make_legible
from ..verdict import MEANINGS
from .formats import Cell, build_grid, describe_protocol, fold_constant_keys, list_notes
from .plot import Figure, write_theme

TONES = {  # class and sign of each word: good or bad is never shown by colour alone
    "matches": ("good", "✓"),
    "consistent with": ("good", "≈"),
    "outside": ("bad", "∉"),
    "better": ("good", "▲"),
    "worse": ("bad", "▼"),
    "inconclusive": ("open", "?"),
    "failed": ("bad", "✗"),
    "not comparable": ("off", "≠"),
    "no run yet": ("off", "–"),
    "not measured": ("off", "–"),
    "holds": ("good", "✓"),
    "reversed": ("bad", "✗"),
    "fails": ("bad", "✗"),
    "undecided": ("open", "?"),
    "not judged": ("off", "–"),
}


GUIDE = MEANINGS | {"matches": f"{MEANINGS['matches']}; the margin is {MARGIN} points where a file sets no other"}


SIGNS = """n counts seeds; ± is the standard deviation over them. In brackets stands what was published where we have no
number. A run is stale where models, data, tasks or optimizers have changed since. Convergence: the first epoch no more
than half a point below the final validation accuracy."""


OPEN = 6  # figures that are open; the others are folded
Anchors = Mapping[Path, str]  # by run: the id of its group's place on the page


@dataclass(frozen=True)
class Head:
    """The head of a column; `kind` is "" for numbers, and a CSS class for text."""

    text: str
    kind: str


@dataclass(frozen=True)
class PageCell:
    """A table cell: its text with a link, its verdict's word, and the small lines below them."""

    head: str
    kind: str
    text: str
    anchor: str | None
    word: str
    under: Sequence[str]
    value: float | str | None  # what the cell sorts by; None: its text

    @property
    def badge_alone(self) -> bool:
        """Tell whether the text begins with the word, as in the column of verdicts."""
        return bool(self.word) and self.text.startswith(self.word)

    @property
    def reason(self) -> list[str]:
        """Return what the text says after the word."""
        reason = self.text[len(self.word) :].removeprefix(": ")
        return [reason] if reason else []

    @property
    def empty(self) -> bool:
        return not (self.text.strip() or self.word or any(line.strip() for line in self.under))


@dataclass(frozen=True)
class PageRow:
    """A table row; a faint one says nothing about the published numbers."""

    cells: Sequence[PageCell]
    faint: bool


@dataclass(frozen=True)
class PageTable:
    """A sortable table with its notes."""

    name: str
    heads: Sequence[Head]
    rows: Sequence[PageRow]
    notes: Sequence[str]
    protocol: Sequence[tuple[str, str, str]]  # how its runs are trained: a CSS class, who says so, and what


@dataclass(frozen=True)
class Link:
    """A text that leads to a group's runs."""

    text: str
    anchor: str


@dataclass(frozen=True)
class PageClaim:
    """A claim with its verdict and the comparisons behind it, the one that decides it first."""

    word: str
    text: str
    ours: bool  # the words are not the study's
    steps: Sequence["PageStep"]
    flags: Sequence[str]


@dataclass(frozen=True)
class PageStep:
    """A comparison: its verdict, what it is of, the means with what stands between them, and its interval."""

    word: str
    title: str
    sides: Sequence[Link]
    between: str
    bounds: str


@dataclass(frozen=True)
class PageRun:
    """A run: its seed and number; its directory, commit and command."""

    seed: int
    number: str
    link: str
    place: str
    facts: str
    command: str
    probes: Sequence[tuple[str, str]]  # the figures of src.analyze in its directory: a name, and a link


@dataclass(frozen=True)
class PageGroup:
    """A group, folded: a summary, its settings and its runs."""

    anchor: str
    summary: str
    settings: str
    runs: Sequence[PageRun]


def render_page(
    *,
    title: str,
    source: str,
    headline: Sequence[str],
    notes: Sequence[str],
    views: Sequence[View],
    claims: Sequence[ClaimVerdict],
    figures: Sequence[Figure],
    collected: Collected,
    out: Path,
    packed: Sequence[PackedRun] | None = None,
) -> str:
    """Render the page as HTML; `out` is the directory it is written to, from where its links to the runs lead.

    With the runs that are `packed` in a bundle it lists these and leads to no other file.
    """
    anchors = {run.path: f"runs-{i}" for i, group in enumerate(collected.groups) for run in group.runs}
    return (
        load_environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            source=source,
            headline=headline,
            notes=notes,
            compared=[lay_out_table(view, anchors) for view in views if view.compared],
            general=[lay_out_table(view, anchors) for view in views if not view.compared],
            claims=[lay_out_claim(claim, anchors) for claim in claims],
            figures=figures[:OPEN],
            folded=figures[OPEN:],
            groups=[lay_out_group(group, anchors, out) for group in collected.groups],
            runs=len(collected.runs),
            left_out=[(str(path), reason) for path, reason in collected.left_out],
            guide=GUIDE,
            signs=SIGNS,
            tones=TONES,
            theme=write_theme(),
            count=count,
            packed=packed,
            pack_rows=pack_rows,
        )
    )


@cache
def load_environment() -> Environment:
    """Load the jinja environment of this folder, which escapes every value and raises for an unknown name."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=clean_value,
        keep_trailing_newline=True,
    )


def clean_value(value: object) -> object:
    """Make a text of the page legible, but leave alone the markup that the template itself has made."""
    return make_legible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def count(number: int, noun: str) -> str:
    """Write "1 run" or "3 runs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def lay_out_table(view: View, anchors: Anchors) -> PageTable:
    """Lay a view out as a sortable table, without the columns that are empty, or the same key, in every row."""
    view, same = fold_constant_keys(view)
    view = replace(view, notes=[*view.notes, *([f"{same}."] if same else [])])
    heads, rows = build_grid(view)
    kept = [i for i in range(len(heads)) if i == 0 or any(row[i].text or row[i].under for row in rows)]
    kinds = ["text" if i < len(view.keys) or head == "verdict" else "" for i, head in enumerate(heads)]
    kinds = [f"{kind} {head}" if kind and head == "settings" else kind for kind, head in zip(kinds, heads, strict=True)]
    body = [
        PageRow([lay_out_cell(row[i], heads[i], kinds[i], anchors) for i in kept], says_nothing(row)) for row in rows
    ]
    return PageTable(
        view.name, [Head(heads[i] or "name", kinds[i]) for i in kept], body, list_notes(view), describe_protocol(view)
    )


def lay_out_cell(cell: Cell, head: str, kind: str, anchors: Anchors) -> PageCell:
    """Lay a cell of the grid out with a link to the runs behind it."""
    anchor = anchors.get(cell.group.runs[0].path) if cell.group and cell.text else None
    value = "" if cell.value is None and not kind else cell.value
    return PageCell(head, kind, cell.text, anchor, cell.word, cell.under, value)


def says_nothing(row: Sequence[Cell]) -> bool:
    """Tell whether a row has verdicts but none of them says anything about a published number."""
    words = {cell.word for cell in row if cell.word}
    return bool(words) and words <= {"not comparable", "not measured", "no run yet"}


def lay_out_claim(claim: ClaimVerdict, anchors: Anchors) -> PageClaim:
    """Lay a claim out with its verdict and its comparisons."""
    reason = f" ({claim.verdict.reason})" if claim.verdict.reason else ""
    steps = [lay_out_step(step, anchors) for step in claim.steps]
    return PageClaim(claim.verdict.word, claim.claim.text + reason, claim.claim.ours, steps, claim.flags)


def lay_out_step(step: StepVerdict, anchors: Anchors) -> PageStep:
    """Lay a comparison out with links to the runs on all sides."""
    sides = [
        Link(step.describe_side(side), anchors[side.groups[0].runs[0].path] if side.groups else "")
        for side in step.sides
    ]
    return PageStep(step.verdict.word, step.column.title, sides, step.between, step.bounds)


def lay_out_group(group: Group, anchors: Anchors, out: Path) -> PageGroup:
    """Lay a group out with its settings and its runs."""
    words = [group.title, group.label, f"{group.epochs:,} epochs", f"{group.n_train:,} images", f"n = {group.n}"]
    settings = " ".join(format_settings(group.settings)) or "every setting as the names imply"
    runs = [lay_out_run(run, group.headline, out) for run in group.runs]
    return PageGroup(anchors[group.runs[0].path], " · ".join(words), settings, runs)


def lay_out_run(run: Result, headline: str, out: Path) -> PageRun:
    """Lay a run out with its number and a link from the page to its directory."""
    value = run.value(headline)
    number = "" if value is None else f"{100 * value:.2f} %" if headline.endswith("error") else f"{value:.4f}"
    commit = f"commit {run.commit}" if run.commit else "no commit known"
    figures = sorted((run.path / "probes").glob("*.svg"))
    return PageRun(
        seed=run.seed,
        number=number,
        link=quote(os.fsencode(os.path.relpath(run.path, out))) + "/",
        place=str(run.path),
        facts=f"{commit}{', of other code than today' if run.stale else ''}",
        command=str(run.content.get("command", "")),
        probes=[(figure.stem, quote(os.fsencode(os.path.relpath(figure, out)))) for figure in figures],
    )
