"""TensorBoard: event files in the run directory."""

import threading
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from ...runs.results import Results
from .base import Identity, RunLogger

PRINT_TRACEBACK = threading.excepthook


class TensorBoardRun(RunLogger):
    lightning: TensorBoardLogger

    def start(self, run: Identity) -> None:
        threading.excepthook = ignore_writer
        self.lightning = TensorBoardLogger(save_dir=run.path, name="", version="tensorboard", default_hp_metric=False)
        self.settings = run.facts

    def epoch(self, row: dict[str, float]) -> None:
        self.lightning.log_metrics({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))

    def media(self, name: str, picture: Path, step: int) -> None:
        with Image.open(picture) as image:
            self.lightning.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")

    def summary(self, results: Results, *, confusion: Tensor | None, classes: tuple[str, ...]) -> None:
        test = {key: value for key, value in results["metrics"].items() if key.startswith("test/")}
        self.lightning.log_hyperparams(self.settings, metrics=test, step=results["steps"])

    def finish(self, *, failed: bool) -> None:
        if not failed:
            self.lightning.finalize("success")


def ignore_writer(failure: threading.ExceptHookArgs) -> None:
    """Print the traceback of a failed thread, but not of one that writes events: the next event raises its error."""
    if not (isinstance(failure.exc_value, OSError) and "Writer" in type(failure.thread).__name__):
        PRINT_TRACEBACK(failure)
