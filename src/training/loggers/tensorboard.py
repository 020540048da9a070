"""TensorBoard: event files in the run directory."""

from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from ...runs.results import Results
from .base import Identity, RunLogger


class TensorBoardRun(RunLogger):
    lightning: TensorBoardLogger

    def start(self, run: Identity) -> None:
        self.lightning = TensorBoardLogger(save_dir=run.path, name="", version="tensorboard")

    def epoch(self, row: dict[str, float]) -> None:
        self.lightning.log_metrics({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))

    def summary(self, results: Results, *, confusion: Tensor | None, classes: tuple[str, ...]) -> None:
        test = {key: value for key, value in results["metrics"].items() if key.startswith("test/")}
        self.lightning.log_metrics(test, step=results["steps"])

    def finish(self, *, failed: bool) -> None:
        if not failed:
            self.lightning.finalize("success")
