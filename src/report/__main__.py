"""Report on finished runs, without network or GPU: one page with tables, figures and verdicts.

  python -m src.report runs=<glob> [study=he2016_table6] [labels=<file.csv>] [out=<directory>]   make a report
  python -m src.report compare=[A,B] [out=<file.json>]                           compare two configurations
  python -m src.report wandb=<entity>/<project> [study=…] [out=<file.json>]      make a dashboard at W&B

runs=     directories of runs; each stands for everything below it, and [A,B] names several (default: outputs); a run
          may be named by last, best:<metric> or the first digits of its hash, too
study=    show a study's tables, claims and figures, with our numbers beside the published ones (conf/published)
labels=   corrected labels of the test images, a CSV file with the columns index and label
out=      where to write the page, tables and figures (default: outputs/report/<study or all>)
compare=  two directories or globs: the paired difference over seeds, and McNemar's test on the test predictions
wandb=    a dashboard with the study's tables and figures over the runs of its group at W&B; with out=, its definition
          is written to a file instead, which needs neither key nor network
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..cli.console import clear_step, say, show_step
from ..cli.main import main, print_help
from ..errors import UserError
from ..files import write_atomic, write_rows
from ..runs.find import resolve_many
from ..text import describe_unknown
from .claims import ClaimVerdict, judge_claims
from .entries import View
from .groups import Collected, Group, collect_runs, make_slug
from .headline import summarize_runs, summarize_study
from .health import build_health_view, collect_tested, read_labels
from .overview import build_across_view, build_general_view
from .published import Published, list_published, read_published
from .render.formats import build_rows, format_latex, format_markdown, format_text
from .result import make_legible
from .trust import build_trust_view
from .unfinished import build_early_view
from .views import (
    build_study_view,
    select_comparable,
    select_groups,
)

WORDS = ("runs", "study", "labels", "out", "compare", "wandb")


def answer() -> int:
    """Do what the command line asks for and return the exit status."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    options = parse_words(words)
    if "compare" in options:
        from .compare import compare

        compare(resolve_many(split_list(options["compare"])), out=Path(options["out"]) if "out" in options else None)
        return 0
    study = options.get("study")
    if "wandb" in options:
        from .render.dashboard import make_dashboard

        print(make_dashboard(options["wandb"], read_study(study), Path(options["out"]) if "out" in options else None))
        return 0
    out = Path(options.get("out", f"outputs/report/{study or 'all'}"))
    labels = read_labels(Path(options["labels"])) if "labels" in options else None
    make_report(resolve_many(split_list(options.get("runs", "outputs"))), study, out, labels)
    return 0


def parse_words(words: Sequence[str]) -> dict[str, str]:
    """Return the options of the command line by name; UserError for a word that is none of them."""
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name == "debug":
            continue
        if name not in WORDS or not equals or not value:
            raise UserError(f"{word}: not understood; python -m src.report takes {'=, '.join(WORDS)}=")
        options[name] = value
    if "compare" in options and (others := [name for name in ("runs", "study", "labels", "wandb") if name in options]):
        raise UserError(f"compare= stands alone, because it names its runs itself; leave out {'=, '.join(others)}=")
    if "wandb" in options and (others := [name for name in ("runs", "labels") if name in options]):
        named = "=, ".join(others)
        raise UserError(f"wandb= takes no {named}=, because a dashboard shows the runs that are at W&B; leave it out")
    return options


def split_list(value: str) -> list[str]:
    """Return the values of [A,B], or the one value."""
    inner = value[1:-1].split(",") if value.startswith("[") and value.endswith("]") else [value]
    return [word.strip() for word in inner if word.strip()]


def read_study(study: str | None) -> Published | None:
    """Read what a study printed; None without a study, UserError for an unknown one."""
    if study and study not in list_published():
        raise UserError(describe_unknown("study", study, list_published()))
    return read_published(study) if study else None


def make_report(patterns: Sequence[str], study: str | None, out: Path, labels: Mapping[int, int] | None = None) -> None:
    """Collect and judge the runs, write page, tables and figures below `out`, and print the tables.

    `labels` are corrected ones, by the number of the test image.
    """
    published = read_study(study)
    show_step("reading the runs")
    collected = collect_runs(patterns)
    for path, reason in collected.left_out:
        say(make_legible(f"Left out: {path}: {reason}"))
    notes: list[str] = []
    if published:
        collected, others = select_study_groups(published, collected)
        views = [build_study_view(table, collected.groups, collected.lost) for table in published.tables]
        claims = judge_claims(published, collected.groups)
        headline = summarize_study(views, claims)
        notes = [
            *published.notes,
            *([f"{others} other run(s) are of no row or claim of this study."] if others else []),
        ]
    else:
        views, claims, headline = [], [], summarize_runs(collected.groups)
    comparable = select_comparable(published, collected.groups) if published else collected.groups
    printed = collect_published_scores(published, comparable) if published else {}
    if across := build_across_view(comparable, printed):
        views.append(across)
    if collected.groups:
        views.append(build_general_view(collected.groups, "All runs of this study" if published else "All runs"))
    tested, unread = collect_tested(collected.groups)
    for sentence in unread:
        say(make_legible(sentence))
    notes += unread
    more = (
        build_health_view(tested, labels),
        build_trust_view(collected.groups),
        build_early_view(collected.groups, collected.left_out),
    )
    views += [view for view in more if view]
    show_step("drawing the figures")
    write_report(out, published, headline, notes, views, claims, collected)
    clear_step()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for view in views:
        print(f"\n{view.name}\n{format_text(view, width)}")
    for claim in claims:
        print(f"\n{claim}")
    print("\n" + "\n".join([*headline, str(out / "index.html")]))


def select_study_groups(published: Published, collected: Collected) -> tuple[Collected, int]:
    """Select the groups that a row or a claim of the study is about, and count the runs of all others."""
    cells = [match for match, _ in published.cells]
    groups = [group for group in collected.groups if any(select_groups(match, [group]) for match in cells)]
    chosen = Collected(groups, collected.left_out, collected.lost)
    return chosen, len(collected.runs) - len(chosen.runs)


def write_report(
    out: Path,
    published: Published | None,
    headline: Sequence[str],
    notes: Sequence[str],
    views: Sequence[View],
    claims: Sequence[ClaimVerdict],
    collected: Collected,
) -> None:
    """Write index.html; for each table a Markdown, CSV and LaTeX file; for each figure an SVG and CSV file."""
    from .render.figures import KINDS, draw_figures
    from .render.page import render_page

    wanted = [*published.figures, "reliability"] if published else list(KINDS)
    shown = select_comparable(published, collected.groups) if published else collected.groups
    figures = draw_figures(shown, wanted, collect_published_scores(published, shown) if published else {})
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for view in views:
        name = make_slug(view.name)
        write_text(out / f"{name}.md", format_markdown(view))
        write_text(out / f"{name}.tex", format_latex(view))
        write_rows(out / f"{name}.csv", build_rows(view))
    for figure in figures:
        write_text(out / "figures" / f"{figure.name}.svg", figure.standalone)
        write_rows(out / "figures" / f"{figure.name}.csv", figure.rows)
    html = render_page(
        title=published.title if published else "Report",
        source=published.source if published else "",
        headline=headline,
        notes=notes,
        views=views,
        claims=claims,
        figures=figures,
        collected=collected,
        out=out,
    )
    write_text(out / "index.html", html)


def collect_published_scores(published: Published, groups: Sequence[Group]) -> dict[Path, float]:
    """Return the published headline numbers by the first run of the group that they are about, as shares of 1."""
    found: dict[Path, float] = {}
    for table in published.tables:
        for row in table.rows:
            for group in select_groups(row.match, groups):
                if group.headline in row.values:
                    value = row.values[group.headline] / table.columns[group.headline].scale
                    found.setdefault(group.runs[0].path, value)
                elif group.headline == "test/error" and "test/accuracy" in row.values:
                    value = 1 - row.values["test/accuracy"] / table.columns["test/accuracy"].scale
                    found.setdefault(group.runs[0].path, value)
    return found


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomic(path, text.encode())


if __name__ == "__main__":
    main(answer)
