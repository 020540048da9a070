"""The report as one HTML file that needs nothing else: no network, no scripts or styles beside it.

Whatever comes from a file passes through `escaped` before it is part of the page.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from ..claims import ClaimVerdict
from ..groups import Collected, Group, told
from ..result import Result
from ..verdict import ORDER_LEVEL, TOST_LEVEL
from ..views import MARGIN, View
from .formats import Cell, grid
from .plot import Figure, escaped, theme

HERE = Path(__file__).parent


TONES = {  # class and sign of each word: what is good or bad is never told by colour alone
    "matches": ("good", "✓"),
    "better": ("good", "▲"),
    "worse": ("bad", "▼"),
    "inconclusive": ("open", "?"),
    "not comparable": ("off", "≠"),
    "no run yet": ("off", "–"),
    "not measured": ("off", "–"),
    "holds": ("good", "✓"),
    "reversed": ("bad", "✗"),
    "undecided": ("open", "?"),
    "not judged": ("off", "–"),
}


GUIDE = {
    "matches": f"the {TOST_LEVEL:.0%} confidence interval of our mean lies within the margin of the published number "
    f"({MARGIN} points where its file sets no other): two one-sided tests at 5 %",
    "better": f"the {TOST_LEVEL:.0%} interval lies on the better side of the published number",
    "worse": "the same on the worse side",
    "inconclusive": "neither; so many seeds would decide if mean and spread stayed as they are. One decides nothing",
    "not comparable": "the runs were shorter, smaller or of another protocol than the published ones",
    "holds": f"the {ORDER_LEVEL:.0%} interval of the difference (Welch) is on the claimed side of 0; reversed: on the "
    "other one; undecided: 0 lies within",
}


SIGNS = """n counts seeds; ± is the standard deviation over them. In brackets stands what was published where we have no
number. A run is stale where models, data, tasks or optimizers have changed since. Convergence: the first epoch no more
than half a point below the final validation accuracy."""


def page(
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
) -> str:
    """The whole page; `out` is the directory it will lie in, for links to the runs."""
    anchors = {group.runs[0].path: f"runs-{i}" for i, group in enumerate(collected.groups)}
    runs = f"{len(collected.runs)} run{'s' if len(collected.runs) != 1 else ''} in {len(collected.groups)} group"
    runs += "s" if len(collected.groups) != 1 else ""
    left_out = f', <a href="#left-out">{len(collected.left_out)} left out</a>' if collected.left_out else ""
    body = [
        f'<header><p class="eyebrow">{escaped(title)}</p><h1>{escaped(headline[0])}</h1>',
        *(f"<p class=lead>{escaped(sentence)}</p>" for sentence in headline[1:]),
        f'<p class="small">{escaped(source) + ". " if source else ""}{runs}{left_out}. ',
        'A number leads to its runs; <a href="#guide">what the verdicts mean</a>.</p></header><main>',
        *(table_section(view, anchors) for view in views if view.compared),
        claims_section(claims, anchors),
        *(f"<p class=small>{escaped(note)}</p>" for note in notes),
        *(table_section(view, anchors) for view in views if not view.compared),
        figures_section(figures),
        runs_section(collected.groups, anchors, out),
        left_out_section(collected),
        guide_section(),
        "</main>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; img-src data:\">"
        f"<title>{escaped(headline[0][:120])} · {escaped(title)}</title>"
        f"<style>{theme()}{(HERE / 'page.css').read_text()}</style></head><body>"
        + "\n".join(filter(None, body))
        + f"<script>{(HERE / 'page.js').read_text()}</script></body></html>\n"
    )


def table_section(view: View, anchors: dict[Path, str]) -> str:
    """A sortable table with its notes."""
    heads, rows = grid(view)
    text = [i < len(view.keys) or head == "verdict" for i, head in enumerate(heads)]
    empty = [all(not row[i].text and not row[i].under for row in rows) for i in range(len(heads))]
    kept = [i for i in range(len(heads)) if not empty[i] or i == 0]
    sides = [
        f"text {head}" if text[i] and head == "settings" else "text" if text[i] else "" for i, head in enumerate(heads)
    ]
    head = "".join(
        f'<th scope="col" class="{sides[i]}" aria-sort="none"><button type="button">{escaped(heads[i] or "name")}'
        "</button></th>"
        for i in kept
    )
    body = "".join(
        f"<tr{faint(row)}>{''.join(table_cell(row[i], heads[i], sides[i], anchors) for i in kept)}</tr>" for row in rows
    )
    notes = [*view.notes, *dict.fromkeys(f"{line.keys[0]}: {note}" for line in view.lines for note in line.notes)]
    told_notes = "".join(f'<p class="small">{escaped(note)}</p>' for note in notes)
    name = escaped(view.name)
    return (
        f'<section><h2>{name}</h2><div class="scroll" tabindex="0" role="region" aria-label="{name}">'
        f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"{told_notes}</section>"
    )


def faint(row: Sequence[Cell]) -> str:
    """Rows that say nothing about the published number step back."""
    words = {cell.word for cell in row if cell.word}
    return ' class="faint"' if words and words <= {"not comparable", "not measured", "no run yet"} else ""


def table_cell(cell: Cell, head: str, side: str, anchors: dict[Path, str]) -> str:
    """A cell with its badge and what stands below."""
    value = f' data-value="{cell.value}"' if cell.value is not None else ' data-value=""' if not side else ""
    text = linked(cell, anchors)
    below = "".join(f'<span class="under{" flag" if side else ""}">{escaped(line)}</span>' for line in cell.under)
    badge = word(cell.word) if cell.word else ""
    if cell.word and cell.text.startswith(cell.word):  # the verdict's own column: the badge, and why
        reason = cell.text[len(cell.word) :].removeprefix(": ")
        text = f'<span class="under">{escaped(reason)}</span>' if reason else ""
        content = f"{badge}{text}{below}"
    else:
        content = f"{text} {badge}{below}" if badge else f"{text}{below}"
    empty = "" if content.strip() else " empty"
    return f'<td class="{side}{empty}" data-label="{escaped(head)}"{value}><span>{content}</span></td>'


def linked(cell: Cell, anchors: dict[Path, str]) -> str:
    """The cell's text, leading to the runs behind it."""
    anchor = anchors.get(cell.group.runs[0].path) if cell.group and cell.text else None
    return f'<a href="#{anchor}">{escaped(cell.text)}</a>' if anchor else escaped(cell.text)


def word(verdict: str) -> str:
    """A verdict as a badge."""
    tone, sign = TONES.get(verdict, ("off", ""))
    return f'<span class="word {tone}"><span aria-hidden="true">{sign}</span> {escaped(verdict)}</span>'


def claims_section(claims: Sequence[ClaimVerdict], anchors: dict[Path, str]) -> str:
    """What the text claims, each with its verdict and the two means behind it."""
    if not claims:
        return ""
    items = []
    for claim in claims:
        means = ""
        if claim.higher and claim.lower:
            sides = (claim.side(claim.higher), claim.side(claim.lower))
            groups = (claim.higher, claim.lower)
            links = [
                f'<a href="#{anchors[group.runs[0].path]}">{escaped(text)}</a>'
                for group, text in zip(groups, sides, strict=True)
            ]
            means = f'<span class="under">{" against ".join(links)}{escaped(claim.bounds)}</span>'
        flags = "".join(f'<span class="under flag">{escaped(flag)}</span>' for flag in claim.flags)
        reason = f" ({claim.verdict.reason})" if claim.verdict.reason else ""
        items.append(f"<li>{word(claim.verdict.word)} {escaped(claim.claim.text)}{escaped(reason)}{means}{flags}</li>")
    return f'<section><h2>What the study claims</h2><ul class="claims">{"".join(items)}</ul></section>'


def figures_section(found: Sequence[Figure]) -> str:
    """The figures, each with its caption and the files of its numbers and itself."""
    drawn = "".join(
        f"<figure><h3>{escaped(figure.title)}</h3>{figure.svg}<figcaption>{escaped(figure.caption)} "
        f'<a href="figures/{quote(figure.name)}.csv">numbers</a>, '
        f'<a href="figures/{quote(figure.name)}.svg">picture</a>'
        "</figcaption></figure>"
        for figure in found
    )
    return f'<section><h2>Figures</h2><div class="figures">{drawn}</div></section>' if found else ""


def runs_section(groups: Iterable[Group], anchors: dict[Path, str], out: Path) -> str:
    """Every group, folded: its settings, and for each run its number, commit, command and directory."""
    parts = []
    for group in groups:
        words = [
            str(group.data),
            group.label,
            f"{group.epochs:,} epochs",
            f"{group.n_train:,} images",
            f"n = {group.n}",
        ]
        settings = " ".join(told(group.settings)) or "every setting as the names imply"
        runs = "".join(run_entry(run, group.headline, out) for run in group.runs)
        parts.append(
            f'<details id="{anchors[group.runs[0].path]}"><summary>{escaped(" · ".join(words))}</summary>'
            f'<p class="small"><code>{escaped(settings)}</code></p><dl class="runs">{runs}</dl></details>'
        )
    return f"<section><h2>Runs</h2>{''.join(parts)}</section>"


def run_entry(run: Result, headline: str, out: Path) -> str:
    """A run: seed and number; directory, commit and command."""
    value = run.value(headline)
    number = "" if value is None else f"{100 * value:.2f} %" if headline.endswith("error") else f"{value:.4f}"
    place = os.path.relpath(run.path, out)
    commit = f"commit {run.commit}" if run.commit else "no commit known"
    facts = f"{commit}{', of other code than today' if run.stale else ''}"
    return (
        f"<dt>seed {run.seed}<br>{escaped(number)}</dt><dd>"
        f'<a href="{escaped(quote(os.fsencode(place)))}/"><code>{escaped(str(run.path))}</code></a>'
        f' <span class="small">{escaped(facts)}</span><br><code>{escaped(str(run.content.get("command", "")))}</code>'
        "</dd>"
    )


def left_out_section(collected: Collected) -> str:
    """What was found and left out, each with the reason."""
    if not collected.left_out:
        return ""
    items = "".join(
        f"<li><code>{escaped(str(path))}</code>: {escaped(reason)}</li>" for path, reason in collected.left_out
    )
    return f'<section id="left-out"><h2>Left out</h2><ul class="small">{items}</ul></section>'


def guide_section() -> str:
    """What the verdicts mean."""
    items = "".join(f"<dt>{word(name)}</dt><dd>{escaped(text)}.</dd>" for name, text in GUIDE.items())
    return (
        f'<section id="guide"><h2>What the verdicts mean</h2><dl class="guide small">{items}</dl>'
        f'<p class="small">{escaped(SIGNS)}</p></section>'
    )
