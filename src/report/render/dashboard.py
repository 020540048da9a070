"""The report as a dashboard at W&B, defined in code: the local page's tables and figures, from a study's runs there.

A bar, line or band is the mean and standard deviation of runs that differ only in their seed: they share the
configuration key `pool` (src/training/fit.py). Verdicts, confusion matrices and classes are on the local page alone.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cli.compose import CONF
from ...errors import UserError
from ...files import write_atomic
from ...machine.wandb import has_wandb_key
from ..groups import HEADLINES
from ..published import Column, Published, Table, list_published
from ..views import GENERAL, entry

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

MOST_RUNS = 200  # in a panel; W&B's own default shows ten


SEEDS: dict[str, Any] = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}


def dashboard(place: str, published: Published | None, out: Path | None) -> str:
    """Make the dashboard at <entity>/<project>, or write its definition to `out`; returns where it is."""
    entity, slash, project = place.partition("/")
    if not (entity and slash and project) or "/" in project:
        raise UserError(f"wandb={place}: not of the form <entity>/<project>, such as wandb=me/deep-residual-learning")
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        view = workspace(entity, project, published)
    except ImportError:
        raise UserError("wandb=: needs wandb-workspaces; pip install -e '.[dashboard]' brings it") from None
    if out:
        content = view._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, (json.dumps(content, indent=1) + "\n").encode())
        return str(out)
    if not has_wandb_key():
        raise UserError(
            f"wandb={place}: no key for W&B is here (wandb login, or WANDB_API_KEY=…); without one, out=<file.json> "
            "writes the dashboard's definition"
        )
    try:
        return str(view.save().url)
    except Exception as error:  # of the network, of W&B's answer, of the key
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"wandb={place}: W&B did not take the dashboard ({reason})") from error


def workspace(entity: str, project: str, published: Published | None) -> "Workspace":
    """A study's dashboard, over the runs of its group; without a study, one of all runs of the project."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    tables = published.tables if published else ()
    columns = [column for table in tables for column in table.columns.values()] or GENERAL
    sections = [ws.Section(name=table.name, panels=table_panels(table), is_open=True) for table in tables]
    if not published:
        sections.append(ws.Section(name="All runs", panels=list(bars(GENERAL)), is_open=True))
    sections.append(ws.Section(name="Figures", panels=list(figures(published)), is_open=True))
    return ws.Workspace(
        entity=entity,
        project=project,
        name=published.experiment if published else "All runs",
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=MOST_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("Group").isin(names)) if (names := groups(published)) else "",
            groupby=[expr.Config("pool")],
            pinned_columns=[f"summary:{metric}" for metric in logged(columns)],
        ),
    )


def groups(published: Published | None) -> list[str]:
    """The groups that a study's runs have at W&B: its experiment, and those that only add to it; [] for all runs."""
    if not published:
        return []
    found = (path.stem for path in (CONF / "experiment").glob(f"{published.experiment}*.yaml"))
    return sorted(name for name in found if name == published.experiment or name not in list_published())


def logged(columns: Iterable[Column]) -> list[str]:
    """The metrics of columns that a run's summary at W&B holds."""
    metrics = dict.fromkeys(column.metric for column in columns if column.has_counterpart)
    return [metric for metric in metrics if metric != "epochs_to_convergence"]


def table_panels(table: Table) -> list[Any]:
    """What the study printed, and ours as bars, column by column."""
    import wandb_workspaces.reports.v2 as wr

    return [wr.MarkdownPanel(markdown=printed(table)), *bars(table.columns.values())]


def printed(table: Table) -> str:
    """The published numbers as a Markdown table, with the study's notes."""
    columns = list(table.columns.values())
    lines = [["published", *(column.title for column in columns)], ["---", *("---:" for _ in columns)]]
    lines += [[row.label, *(entry(row, column, None, []).printed for column in columns)] for row in table.rows]
    notes = [*table.notes, *(f"{row.label}: {note}" for row in table.rows for note in row.notes)]
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*rows, "", *(f"* {note}" for note in notes)]).strip()


def bars(columns: Iterable[Column]) -> Iterator[Any]:
    """A panel a column, a bar a pool of seeds."""
    import wandb_workspaces.reports.v2 as wr

    for metric in logged(columns):
        yield wr.BarPlot(title=metric, metrics=[metric], groupby=wr.Config("pool"), **SEEDS)


def figures(published: Published | None) -> Iterator[Any]:
    """The figures of the local page that W&B can draw."""
    import wandb_workspaces.reports.v2 as wr

    from .figures import KINDS
    from .trends import Against

    for name in published.figures if published else KINDS:
        kind = KINDS[name]
        if name == "curves":
            for score in scores(published):
                metric = "accuracy" if score == "test/error" else score.removeprefix("test/")
                lines: dict[str, Any] = {"x": "epoch", "groupby": wr.Config("pool"), **SEEDS}
                for split in ("val", "train") if metric == "accuracy" else ("val",):
                    yield wr.LinePlot(title=f"{split}/{metric}", y=[f"{split}/{metric}"], **lines)
        elif isinstance(kind, Against):
            x = wr.Config("model.depth") if kind.metric == "depth" else wr.SummaryMetric(kind.metric)
            for score in scores(published):
                title = kind.title if score == "test/error" else f"{score}: {kind.title.lower()}"
                yield wr.ScatterPlot(title=title, x=x, y=wr.SummaryMetric(score), log_x=bool(kind.front))
        elif name == "training_time_bars" and published:  # without a study it is among the columns
            metric = "time/fit_seconds"
            yield wr.BarPlot(title="Training time, s", metrics=[metric], groupby=wr.Config("pool"), **SEEDS)
        elif name == "accuracy_against_share":
            y = wr.SummaryMetric("test/accuracy")
            yield wr.ScatterPlot(title="Accuracy against training images", x=wr.Config("n_train"), y=y, log_x=True)


def scores(published: Published | None) -> Sequence[str]:
    """What the study's tasks are judged by; without a study, every task's."""
    rows = [row for table in published.tables for row in table.rows if row.match] if published else []
    tasks = [str(row.match.get("task", "multiclass")) for row in rows if row.match]
    return list(dict.fromkeys(HEADLINES[task] for task in tasks or HEADLINES))
