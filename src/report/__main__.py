"""Report on runs: ``python -m src.report runs=<glob> [study=he2016_table6] [out=<directory>]``, or compare two:
``python -m src.report compare=[A,B] [out=<file.json>]``, or make a dashboard:
``python -m src.report wandb=<entity>/<project> [study=he2016_table6] [out=<file.json>]``.

runs=     where the run directories lie; a directory stands for all below it, [A,B] for several (default: outputs)
study=    a study's tables, claims and figures, with our numbers beside the published ones (conf/published)
out=      where the page, tables and figures go (default: outputs/report/<study or all>)
compare=  two run directories or globs: the paired difference over seeds, and McNemar's test on the test predictions
wandb=    a dashboard at W&B with the study's tables and figures, over the runs of its group there; out= writes its
          definition to a file instead, for which neither key nor network is needed

The rest is made from the files of the runs, without network or GPU.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ..cli.console import say
from ..cli.main import main
from ..errors import UserError
from ..files import write_atomic, write_rows
from ..text import unknown
from .claims import ClaimVerdict, judge_claims
from .groups import Collected, collect, slug
from .headline import general_headline, study_headline
from .published import Published, list_published, read_published
from .render.formats import as_latex, as_markdown, as_rows, as_text
from .result import legible
from .views import View, about, across_view, comparable, general_view, study_view

WORDS = ("runs", "study", "out", "compare", "wandb")


def story() -> int:
    """Make the report that the command line asks for."""
    words = sys.argv[1:]
    if not words or {"--help", "-h"} & set(words):
        print(__doc__)
        return 0 if words else 2
    asked = options(words)
    if "compare" in asked:
        from .compare import compare

        compare(listed(asked["compare"]), out=Path(asked["out"]) if "out" in asked else None)
        return 0
    study = asked.get("study")
    if "wandb" in asked:
        from .render.dashboard import dashboard

        print(dashboard(asked["wandb"], numbers_of(study), Path(asked["out"]) if "out" in asked else None))
        return 0
    report(listed(asked.get("runs", "outputs")), study, Path(asked.get("out", f"outputs/report/{study or 'all'}")))
    return 0


def options(words: Sequence[str]) -> dict[str, str]:
    """The words of the command line by name; UserError for one that has none of ours."""
    asked: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name == "debug":
            continue
        if name not in WORDS or not equals or not value:
            raise UserError(f"{word}: not understood; python -m src.report takes {'=, '.join(WORDS)}=")
        asked[name] = value
    if "compare" in asked and {"runs", "study", "wandb"} & set(asked):
        raise UserError("compare= stands alone: it names its runs itself")
    if "wandb" in asked and "runs" in asked:
        raise UserError("runs= is not for wandb=: a dashboard shows the runs that are at W&B")
    return asked


def listed(value: str) -> list[str]:
    """A value, or the several of [A,B]."""
    inner = value[1:-1].split(",") if value.startswith("[") and value.endswith("]") else [value]
    return [word.strip() for word in inner if word.strip()]


def numbers_of(study: str | None) -> Published | None:
    """What the study printed; UserError for one that is unknown."""
    if study and study not in list_published():
        raise UserError(unknown("study", study, list_published()))
    return read_published(study) if study else None


def report(patterns: Sequence[str], study: str | None, out: Path) -> None:
    """Collect the runs, judge them, and write page, tables and figures below `out`."""
    published = numbers_of(study)
    collected = collect(patterns)
    for path, reason in collected.left_out:
        say(legible(f"Left out: {path}: {reason}"))
    notes: list[str] = []
    if published:
        collected, others = of_study(published, collected)
        views = [study_view(table, collected.groups) for table in published.tables]
        claims = judge_claims(published, collected.groups)
        headline = study_headline(views, claims)
        notes = [
            *published.notes,
            *([f"{others} other run(s) are of no row or claim of this study."] if others else []),
        ]
    else:
        views, claims, headline = [], [], general_headline(collected.groups)
    if across := across_view(comparable(published, collected.groups) if published else collected.groups):
        views.append(across)
    if collected.groups:
        views.append(general_view(collected.groups, "All runs of this study" if published else "All runs"))
    write(out, published, headline, notes, views, claims, collected)
    for view in views:
        print(f"\n{view.name}\n{as_text(view)}")
    for claim in claims:
        print(f"\n{claim}")
    print("\n" + "\n".join([*headline, str(out / "index.html")]))


def of_study(published: Published, collected: Collected) -> tuple[Collected, int]:
    """The groups that a row or a claim of the study is about, and how many runs are of none."""
    wanted = [row.match for table in published.tables for row in table.rows]
    wanted += [side for claim in published.claims for side in (claim.higher, claim.lower)]
    groups = [group for group in collected.groups if any(about(match, group) for match in wanted)]
    chosen = Collected(groups, collected.left_out)
    return chosen, len(collected.runs) - len(chosen.runs)


def write(
    out: Path,
    published: Published | None,
    headline: Sequence[str],
    notes: Sequence[str],
    views: Sequence[View],
    claims: Sequence[ClaimVerdict],
    collected: Collected,
) -> None:
    """index.html, a Markdown, CSV and LaTeX file a table, and an SVG and CSV file a figure."""
    from .render.figures import KINDS, figures
    from .render.page import render_page

    wanted = list(published.figures) if published else list(KINDS)
    shown = comparable(published, collected.groups) if published else collected.groups
    drawn = figures(shown, wanted, published_errors(published) if published else {})
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for view in views:
        name = slug(view.name)
        write_text(out / f"{name}.md", as_markdown(view))
        write_text(out / f"{name}.tex", as_latex(view))
        write_rows(out / f"{name}.csv", as_rows(view))
    for figure in drawn:
        write_text(out / "figures" / f"{figure.name}.svg", figure.alone)
        write_rows(out / "figures" / f"{figure.name}.csv", figure.rows)
    html = render_page(
        title=published.title if published else "Report",
        source=published.source if published else "",
        headline=headline,
        notes=notes,
        views=views,
        claims=claims,
        figures=drawn,
        collected=collected,
        out=out,
    )
    write_text(out / "index.html", html)


def published_errors(published: Published) -> dict[tuple[str, str], float]:
    """The printed test errors in percent by data and model, for the figures."""
    return {
        (str(row.match["data"]), str(row.match["model"])): row.values["test/error"]
        for table in published.tables
        for row in table.rows
        if row.match and "test/error" in row.values and {"data", "model"} <= row.match.keys()
    }


def write_text(path: Path, text: str) -> None:
    """Write a text atomically."""
    write_atomic(path, text.encode())


if __name__ == "__main__":
    main(story)
