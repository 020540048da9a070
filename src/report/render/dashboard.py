"""Define the report as a dashboard at W&B: the tables and figures of the local page, over a study's runs there.

A bar, line or band is the mean and standard deviation of runs that differ only in their seed: they share the
configuration key `pool`. Verdicts, reliability, confusion matrices and scores of classes are on the local page
alone.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...cli.compose import CONF
from ...errors import UserError
from ...files import write_atomic
from ...machine.wandb import has_wandb_key
from ...tasks.table import ROWS, find_headline
from ..published import Column, Published, Table, list_published
from ..views import GENERAL, PUBLISHED, make_entry

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import BarPlot, LinePlot, PanelTypes
    from wandb_workspaces.workspaces import Workspace

DERIVED = ("epochs_to_convergence", "gap/error", "depth")  # by the report, from what is at W&B


MOST_RUNS = 200  # in a panel; W&B's own default shows ten


def make_dashboard(place: str, published: Published | None, out: Path | None) -> str:
    """Make the dashboard at <entity>/<project>, or write its definition to `out`; return where it is."""
    entity, slash, project = place.partition("/")
    if not (entity and slash and project) or "/" in project:
        raise UserError(f"wandb={place}: not of the form <entity>/<project>, such as wandb=me/deep-residual-learning")
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        dashboard = build_workspace(entity, project, published)
    except ImportError:
        raise UserError("wandb=: needs wandb-workspaces; pip install -e '.[dashboard]' brings it") from None
    if out:
        content = dashboard._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, (json.dumps(content, indent=1) + "\n").encode())
        return str(out)
    if not has_wandb_key():
        raise UserError(
            f"wandb={place}: no key for W&B is here (wandb login, or WANDB_API_KEY=…); without one, out=<file.json> "
            "writes the dashboard's definition"
        )
    try:
        return str(dashboard.save().url)
    except Exception as error:  # of the network, of W&B's answer, of the key
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"wandb={place}: W&B did not take the dashboard ({reason})") from error


def build_workspace(entity: str, project: str, published: Published | None) -> "Workspace":
    """Build a study's dashboard over the runs of its group; without a study, one over all runs of the project."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    tables = published.tables if published else []
    columns = [column for table in tables for column in table.columns.values()] or GENERAL
    sections = [ws.Section(name=table.name, panels=make_table_panels(table), is_open=True) for table in tables]
    if not published:
        sections.append(ws.Section(name="All runs", panels=list(make_bars(GENERAL)), is_open=True))
    sections.append(ws.Section(name="Figures", panels=list(make_figure_panels(published)), is_open=True))
    groups = list_wandb_groups(published)
    return ws.Workspace(
        entity=entity,
        project=project,
        name=published.experiment if published else "All runs",
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=MOST_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("Group").isin(groups)) if groups else "",
            groupby=[expr.Config("pool")],
            pinned_columns=[f"summary:{metric}" for metric in list_logged_metrics(columns)],
        ),
    )


def list_wandb_groups(published: Published | None) -> list[str]:
    """Return the groups of a study's runs at W&B: its experiment, and those that only add to it; [] for all runs."""
    if not published:
        return []
    found = (path.stem for path in (CONF / "experiment").glob(f"{published.experiment}*.yaml"))
    return sorted(name for name in found if name == published.experiment or name not in list_published())


def list_logged_metrics(columns: Iterable[Column]) -> list[str]:
    """Return the metrics of the columns that a run's summary at W&B has."""
    metrics = dict.fromkeys(column.metric for column in columns if column.has_counterpart)
    return [metric for metric in metrics if metric not in DERIVED and not metric.startswith("epochs_to/")]


def make_table_panels(table: Table) -> "list[PanelTypes]":
    """Make a panel of what the study printed, and bars of our numbers for each column."""
    import wandb_workspaces.reports.v2 as wr

    return [wr.MarkdownPanel(markdown=format_published(table)), *make_bars(table.columns.values())]


def format_published(table: Table) -> str:
    """Format the published numbers as a Markdown table with the study's notes."""
    columns = list(table.columns.values())
    lines = [[table.source or PUBLISHED, *(column.title for column in columns)], ["---", *("---:" for _ in columns)]]
    lines += [[row.label, *(make_entry(row, column, None, []).printed for column in columns)] for row in table.rows]
    notes = [*table.notes, *(f"{row.label}: {note}" for row in table.rows for note in row.notes)]
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*rows, "", *(f"* {note}" for note in notes)]).strip()


def make_bars(columns: Iterable[Column]) -> "Iterator[BarPlot]":
    """Make a panel for each logged column, with one bar for each pool of seeds."""
    for metric in list_logged_metrics(columns):
        yield make_bar(metric, metric)


def make_bar(title: str, metric: str) -> "BarPlot":
    """Make a panel with one bar for each pool of seeds: mean and standard deviation."""
    import wandb_workspaces.reports.v2 as wr

    pool = wr.Config("pool")
    return wr.BarPlot(title=title, metrics=[metric], groupby=pool, groupby_aggfunc="mean", groupby_rangefunc="stddev")


def make_curve(metric: str) -> "LinePlot":
    """Make a panel of a metric against epochs: the mean of each pool of seeds, in a band of its deviation."""
    import wandb_workspaces.reports.v2 as wr

    pool = wr.Config("pool")
    return wr.LinePlot(
        title=metric, x="epoch", y=[metric], groupby=pool, groupby_aggfunc="mean", groupby_rangefunc="stddev"
    )


def make_figure_panels(published: Published | None) -> "Iterator[PanelTypes]":
    """Make the figures of the local page that W&B can draw."""
    import wandb_workspaces.reports.v2 as wr

    from .figures import KINDS
    from .trends import ErrorPlot, SharePlot

    for name in published.figures if published else KINDS:
        kind = KINDS[name]
        if name == "curves":
            for score in list_headlines(published):
                metric = "accuracy" if score == "test/error" else score.removeprefix("test/")
                for split in ("val", "train") if metric == "accuracy" else ("val",):
                    yield make_curve(f"{split}/{metric}")
        elif name == "loss_curves":
            for split in ("val", "train"):
                yield make_curve(f"{split}/loss")
        elif isinstance(kind, ErrorPlot):
            x = wr.Config("model.depth") if kind.metric == "depth" else wr.SummaryMetric(kind.metric)
            for score in list_headlines(published):
                title = kind.title if score == "test/error" else f"{score}: {kind.title.lower()}"
                yield wr.ScatterPlot(title=title, x=x, y=wr.SummaryMetric(score), log_x=bool(kind.front))
        elif name == "training_time_bars" and published:  # without a study it is among the columns
            yield make_bar("Training time, s", "time/fit_seconds")
        elif isinstance(kind, SharePlot):
            for column in kind.columns:
                y, title = wr.SummaryMetric(column.metric), f"{column.metric} against training images"
                yield wr.ScatterPlot(title=title, x=wr.Config("n_train"), y=y, log_x=True)


def list_headlines(published: Published | None) -> Sequence[str]:
    """Return the headline metrics of the study's tasks; without a study, those of every task."""
    rows = [row for table in published.tables for row in table.rows if row.match] if published else []
    tasks = [str(row.match.get("task", "multiclass")) for row in rows if row.match]
    return list(dict.fromkeys(find_headline(task) for task in tasks or ROWS))
