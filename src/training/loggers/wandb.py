"""Weights & Biases: online where there is a key, else offline below the run directory.

W&B never stops a training: what fails there is said in one sentence, and the training goes on without it. It never
waits for W&B's server longer than STARTS seconds at its start and ENDS seconds at its end.
"""

import functools
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from ...cli.console import say
from ...runs.results import Results
from ...tasks.table import find_task_row
from ...text import take_first_line
from .base import Identity, RunLogger

if TYPE_CHECKING:
    from wandb import Run

STARTS, ENDS = 20, 30  # seconds that a training waits for the server at its start, and at its end
SHOWN = 10_000  # rows of a table, of which W&B shows no more
P = ParamSpec("P")


def spare_training(method: "Callable[Concatenate[WandbRun, P], None]") -> "Callable[Concatenate[WandbRun, P], None]":
    """Let a method fail without the training: say so once, and leave W&B out from then on."""

    @functools.wraps(method)
    def spared(self: "WandbRun", /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            if not self.failed:
                method(self, *args, **kwargs)
        except Exception as error:
            self.failed = True
            say(f"W&B: {describe_error(error)} The training goes on without it.")

    return spared


class WandbRun(RunLogger):
    run: "Run | None" = None  # rank 0 has it
    failed = False
    lightning: WandbLogger | None

    def __init__(
        self, *, project: str, entity: str | None, group: str | None, job_type: str, tags: Sequence[str], mode: str
    ) -> None:
        """`mode` is online or offline."""
        self.project, self.entity, self.group, self.job_type = project, entity, group, job_type
        self.tags, self.mode = tags, mode
        self.offline = mode == "offline"
        self.folder = Path("wandb")  # of the run, as W&B names it
        self.pictures: dict[str, Path] = {}

    def start(self, run: Identity) -> None:
        """Begin the run; where the server does not answer or refuses it, begin it offline."""
        os.environ.setdefault("WANDB_SILENT", "true")
        self.was_online = any((run.path / "wandb").glob("run-*"))
        if not getattr(rank_zero_only, "rank", 0):
            try:
                self.run = self.begin(run, self.mode)
            except Exception as error:
                say(f"W&B: {describe_error(error)} The run goes on offline: wandb sync {run.path}/wandb/latest-run")
                self.begin_offline(run)
        # without a run, Lightning would begin one of its own
        self.lightning = None if self.failed else WandbLogger(save_dir=run.path, experiment=self.run)

    @spare_training
    def begin_offline(self, run: Identity) -> None:
        """Begin the run offline, after it has failed to begin online."""
        import wandb

        wandb.teardown()  # W&B's process still tries to begin it online, and would refuse to begin it twice
        self.run = self.begin(run, "offline")
        self.offline = True

    def begin(self, run: Identity, mode: str) -> "Run":
        """Begin or continue the run at W&B; raise its error where that is refused, or takes too long."""
        import wandb

        # offline, and where W&B has nothing of it, what is sent is the whole run, and replaces what came before
        known = mode == "online" and self.was_online
        begun = wandb.init(
            name=run.name,
            dir=run.path,
            id=run.run_id,
            resume="allow" if known else None,
            project=self.project,
            entity=self.entity,
            group=self.group or run.group,
            tags=list(dict.fromkeys((*self.tags, *run.tags))),
            job_type=self.job_type,
            config=run.facts,
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(init_timeout=STARTS, finish_timeout=ENDS, finish_timeout_raises=True),
        )
        self.folder = Path(begun.dir).parent
        begun.define_metric("trainer/global_step")
        begun.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return begun

    @spare_training
    def epoch(self, row: dict[str, float]) -> None:
        self.log_rows([row])

    @spare_training
    def repeat(self, rows: Iterable[dict[str, float]]) -> None:
        """Log the earlier epochs that W&B lacks.

        Offline it lacks all, for each start has a folder of its own, and the newest is to hold the whole run; online it
        lacks those that a kill has cut off.
        """
        self.log_rows(rows)

    def log_rows(self, rows: Iterable[dict[str, float]]) -> None:
        """Log epochs, each as the step of its number, so that a run that is continued has each of them once.

        What a task logs by itself may have taken that step.
        """
        import wandb

        assert self.run is not None
        for row in rows:
            if (epoch := int(row["epoch"])) >= self.run.starting_step:
                pictures = {name: wandb.Image(str(path)) for name, path in self.pictures.items()}
                step = {"trainer/global_step": row["step"]}
                figures = {name: value for name, value in row.items() if name != "step"}
                self.run.log(figures | pictures | step, step=max(epoch, self.run.step), commit=True)
        self.pictures = {}

    def media(self, name: str, picture: Path, step: int) -> None:
        """Keep a picture for its epoch's row."""
        self.pictures[name] = picture

    @spare_training
    def summary(self, results: Results, *, confusion: Tensor | None, classes: tuple[str, ...]) -> None:
        assert self.run is not None
        if self.pictures:  # those of the final test, which no epoch's row takes along
            import wandb

            self.run.log({name: wandb.Image(str(path)) for name, path in self.pictures.items()})
            self.pictures = {}
        self.run.summary.update(
            results["metrics"]
            | (compute_error_rates(results) if find_task_row(results["task"]).single else {})
            | {name: results[name] for name in ("params", "macs")}
            | {f"time/{name}": value for name, value in results["time"].items()}
        )
        if confusion is not None:
            import wandb

            columns: list[str | int] = ["true", "predicted", "count"]
            rows = list_confusions(confusion, classes)
            self.run.summary["test/confusion_matrix"] = wandb.Table(columns=columns, data=rows)

    def finish(self, *, failed: bool) -> None:
        """End the run, so that the next job of a sweep begins one of its own."""
        run, self.run = self.run, None
        if run is None:
            return
        folder = shlex.quote(str(self.folder))
        try:
            run.finish(exit_code=int(failed))
            if self.offline:
                say(f"W&B: offline in {self.folder}; this sends it: wandb sync {folder}")
        except TimeoutError:
            send = f"wandb sync --no-skip-online {folder}"
            say(f"W&B: has not taken everything in {ENDS} s; this sends it: {send}")
        except Exception as error:
            if not self.failed:
                say(f"W&B: {describe_error(error)} The training has ended without it.")


def describe_error(error: Exception) -> str:
    """Describe an error of W&B as a sentence, in its own words."""
    text = take_first_line(str(error)) or type(error).__name__
    return text if text.endswith(".") else f"{text}."


def compute_error_rates(results: Results) -> dict[str, float]:
    """Return 1 - accuracy, which the literature prints, where an image has one class."""
    names = {"accuracy": "error", "top5": "top5_error"}
    parted = [(*key.rpartition("/"), value) for key, value in results["metrics"].items()]
    return {f"{split}/{names[name]}": 1 - value for split, _, name, value in parted if name in names}


def list_confusions(confusion: Tensor, classes: Sequence[str]) -> list[list[str | int]]:
    """Return a row [true, predicted, count] for each pair of classes that was seen, the most frequent first.

    Where there are more pairs than W&B shows, the last row counts all others, so that no sample is missing.
    """
    counts, order = confusion.flatten().sort(descending=True, stable=True)
    seen = int((counts > 0).sum())
    kept = seen if seen <= SHOWN else SHOWN - 1
    rows: list[list[str | int]] = [
        [classes[pair // len(classes)], classes[pair % len(classes)], count]
        for pair, count in zip(order[:kept].tolist(), counts[:kept].tolist(), strict=True)
    ]
    if seen > kept:
        rows.append([f"{seen - kept:,} other pairs", "(see confusion_matrix.csv)", int(counts[kept:].sum())])
    return rows
