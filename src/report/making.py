"""Make a report from runs: judge them, write page, tables and figures, and print the tables.

What a bundle holds is made into the same report elsewhere, and compared with the tables that it was made with.
"""

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cli.console import clear_step, say, show_step
from ..errors import UserError
from ..files import format_rows, write_atomic
from ..text import describe_unknown
from .bundle import (
    AS_THEY_ARE,
    PackedRun,
    Places,
    hash_tables,
    make_bundle,
    pack_runs,
    read_bundle,
    unpack_file,
    write_bundle,
)
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
from .views import build_study_view, select_comparable, select_groups


@dataclass(frozen=True)
class Story:
    """What a report tells: its sentences, tables and verdicts, and the runs that they are about.

    `everything` are all runs that were found, also those of no row or claim of the study.
    """

    published: Published | None
    headline: Sequence[str]
    notes: Sequence[str]
    views: Sequence[View]
    claims: Sequence[ClaimVerdict]
    collected: Collected
    everything: Collected


def make_report(
    patterns: Sequence[str], study: str | None, out: Path, labels: Path | None = None, *, bundle: Path | None = None
) -> None:
    """Collect and judge the runs, write page, tables and figures below `out`, and print the tables.

    `labels` is a file of corrected labels. With `bundle`, all of it and what it rests on goes into one file, too.
    """
    published = read_study(study)
    corrected = read_labels(labels) if labels else None
    show_step("reading the runs")
    story = gather_story(patterns, published, corrected)
    show_step("drawing the figures")
    report = Written(story, out)
    report.write()
    if bundle:
        runs = pack_runs(story.everything, story.collected)
        write_bundle(bundle, report.render(runs), make_bundle(study, labels, runs, report.tables))
    clear_step()
    print_story(story, [str(out / "index.html"), *([str(bundle)] if bundle else [])])


def remake_report(path: Path, out: Path) -> int:
    """Make the report of a bundle below `out`; return 0 where every table is the one that it was made with, else 1."""
    show_step("reading the bundle")
    bundle = read_bundle(path)
    published = read_study(bundle.study)
    with tempfile.TemporaryDirectory(prefix="report-") as scratch:
        places = bundle.unpack(Path(scratch, "runs"))
        labels = Path(scratch, "labels.csv")
        if bundle.labels:
            labels.write_bytes(unpack_file(bundle.labels))
        corrected = read_labels(labels) if bundle.labels else None
        story = gather_story([str(places.folder)], published, corrected, places=places)
        show_step("drawing the figures")
        report = Written(story, out, places=places, packed=bundle.runs)
        report.write()
    clear_step()
    print_story(story, [str(out / "index.html")], places)
    made = hash_tables(report.tables)
    differing = sorted(name for name in bundle.tables.keys() | made.keys() if bundle.tables.get(name) != made.get(name))
    if not differing:
        print(f"Every table is that of the bundle, byte by byte ({len(made)} files).")
        return 0
    say(
        f"{len(differing)} of {len(bundle.tables)} files are not those of the bundle, which "
        f"{'the same' if bundle.code_hash == make_bundle(None, None, [], {}).code_hash else 'other'} code has made: "
        + ", ".join(differing[:5])
    )
    return 1


def read_study(study: str | None) -> Published | None:
    """Read what a study printed; None without a study, UserError for an unknown one."""
    if study and study not in list_published():
        raise UserError(describe_unknown("study", study, list_published()))
    return read_published(study) if study else None


def gather_story(
    patterns: Sequence[str],
    published: Published | None,
    labels: Mapping[int, int] | None,
    places: Places = AS_THEY_ARE,
) -> Story:
    """Collect and judge the runs, and say which are left out. `places` are renamed in what is said."""
    everything = collected = collect_runs(patterns)
    for path, reason in collected.left_out:
        say(make_legible(places.rename(f"Left out: {path}: {reason}")))
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
        say(make_legible(places.rename(sentence)))
    notes += unread
    more = (
        build_health_view(tested, labels),
        build_trust_view(collected.groups),
        build_early_view(collected.groups, collected.left_out),
    )
    views += [view for view in more if view]
    return Story(published, headline, notes, views, claims, collected, everything)


def print_story(story: Story, files: Sequence[str], places: Places = AS_THEY_ARE) -> None:
    """Print tables, verdicts and sentences, and the files that were written."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for view in story.views:
        print(places.rename(f"\n{view.name}\n{format_text(view, width)}"))
    for claim in story.claims:
        print(f"\n{claim}")
    print("\n" + "\n".join([*story.headline, *files]))


def select_study_groups(published: Published, collected: Collected) -> tuple[Collected, int]:
    """Select the groups that a row or a claim of the study is about, and count the runs of all others."""
    cells = [match for match, _ in published.cells]
    groups = [group for group in collected.groups if any(select_groups(match, [group]) for match in cells)]
    chosen = Collected(groups, collected.left_out, collected.lost)
    return chosen, len(collected.runs) - len(chosen.runs)


class Written:
    """A report as files below a folder.

    `places` are renamed in them; with the runs that are `packed` in a bundle, the page has no links to anything else.
    """

    def __init__(
        self,
        story: Story,
        out: Path,
        *,
        places: Places = AS_THEY_ARE,
        packed: Sequence[PackedRun] | None = None,
    ) -> None:
        from .render.figures import KINDS, draw_figures

        published, groups = story.published, story.collected.groups
        wanted = [*published.figures, "reliability"] if published else list(KINDS)
        shown = select_comparable(published, groups) if published else groups
        self.figures = draw_figures(shown, wanted, collect_published_scores(published, shown) if published else {})
        self.story, self.out, self.places, self.packed = story, out, places, packed
        self.tables: dict[str, bytes] = {}  # the content of each, and of the figures' numbers, by its name below `out`
        for view in story.views:
            name = make_slug(view.name)
            self.tables[f"{name}.md"] = places.rename(format_markdown(view)).encode()
            self.tables[f"{name}.tex"] = places.rename(format_latex(view)).encode()
            self.tables[f"{name}.csv"] = format_rows(build_rows(view))
        self.tables |= {f"figures/{figure.name}.csv": format_rows(figure.rows) for figure in self.figures}

    def write(self) -> None:
        """Write index.html; for each table a Markdown, CSV and LaTeX file; for each figure an SVG and CSV file."""
        (self.out / "figures").mkdir(parents=True, exist_ok=True)
        for name, content in self.tables.items():
            write_atomic(self.out / name, content)
        for figure in self.figures:
            write_atomic(self.out / "figures" / f"{figure.name}.svg", figure.standalone.encode())
        write_atomic(self.out / "index.html", self.render(self.packed).encode())

    def render(self, packed: Sequence[PackedRun] | None) -> str:
        """Return the page as HTML; with packed runs, as it stands in a bundle."""
        from .render.page import render_page

        story = self.story
        text = render_page(
            title=story.published.title if story.published else "Report",
            source=story.published.source if story.published else "",
            headline=story.headline,
            notes=story.notes,
            views=story.views,
            claims=story.claims,
            figures=self.figures,
            collected=story.collected,
            out=self.out,
            packed=packed,
        )
        return self.places.rename_in_html(text)


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
