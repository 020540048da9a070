"""A progress bar over the whole training on a terminal, and a line for each epoch everywhere."""

import sys
import time
from typing import NoReturn

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from tqdm import tqdm

from .history import History

SHORT = {"accuracy": "acc", "map": "mAP", "mask_map": "mask mAP"}  # on the bar


class Snapshot:
    """Copy figures from the device to the host without waiting for them."""

    def __init__(self, figures: dict[str, Tensor]) -> None:
        self.names = list(figures)
        values = torch.stack([figure.double() for figure in figures.values()])
        self.values = values.to("cpu", non_blocking=True)
        self.event = torch.cuda.Event() if values.is_cuda else None
        if self.event is not None:
            self.event.record()

    def read(self) -> dict[str, float] | None:
        """Return the figures, or None while they have not arrived."""
        if self.event is not None and not self.event.query():
            return None
        return dict(zip(self.names, self.values.tolist(), strict=True))


class Snapshots(Checkpoint):
    """Take a snapshot of the running figures once a second; ``arrived`` are the last ones, after one batch only."""

    def __init__(self) -> None:
        self.taken_at = 0.0
        self.arrived: dict[str, float] | None = None
        self.under_way: Snapshot | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.under_way = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self.arrived = None
        now = time.monotonic()
        if now - self.taken_at >= 1.0:
            self.taken_at = now
            self.arrived = self.under_way.read() if self.under_way is not None else None
            self.under_way = Snapshot(pl_module.read_running_figures())  # type: ignore[operator]


class Progress(Checkpoint):
    """Draw the bar and print a line for each epoch. A Checkpoint, so that it follows ``History``."""

    def __init__(self, *, snapshots: Snapshots, history: History, batch_size: int, draw: bool) -> None:
        self.snapshots, self.history, self.batch_size, self.draw = snapshots, history, batch_size, draw
        self.bar: tqdm[NoReturn] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs = trainer.max_epochs or 1
        self.part = self.batch_size // trainer.accumulate_grad_batches
        drawn = self.draw and trainer.is_global_zero and sys.stderr.isatty()
        self.bar = tqdm(
            total=self.epochs * int(trainer.num_training_batches),
            initial=trainer.fit_loop.epoch_loop.batch_progress.total.completed,
            disable=not drawn,
            dynamic_ncols=True,
            mininterval=0.5,
            bar_format="{percentage:3.0f}%|{bar}| {desc}  {elapsed} < {remaining}",
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        assert self.bar is not None
        self.bar.update(1)
        shown = self.snapshots.arrived
        if shown is not None and not self.bar.disable:
            batches = self.bar.format_dict["rate"] or 0.0
            figures = [f"{SHORT.get(name, name)} {value:.3f}" for name, value in shown.items()]
            figures += [format_throughput(batches * self.part)] * bool(batches)
            head = f"epoch {trainer.current_epoch + 1}/{self.epochs}"
            self.bar.set_description_str(f"{head} {' '.join(figures)}", refresh=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            line = format_epoch(self.history.row, epochs=self.epochs, headline=str(pl_module.headline))
            tqdm.write(line, file=sys.stderr)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and self.bar is not None:
            self.bar.close()


def format_epoch(row: dict[str, float], *, epochs: int, headline: str) -> str:
    """Format an epoch's figures as a line, which stays above the bar."""
    parts = [f"epoch {row['epoch']:>3}/{epochs}", f"lr {row['lr']:.2g}"]
    for split in ("train", "val", "test"):
        names = dict.fromkeys(("loss", "accuracy", "map", headline))
        shown = {name: row[f"{split}/{name}"] for name in names if f"{split}/{name}" in row}
        if shown:
            parts.append(f"{split} " + " ".join(f"{SHORT.get(name, name)} {v:.4f}" for name, v in shown.items()))
    return "  ".join([*parts, format_throughput(row["images_per_second"]), f"{row['seconds']:.1f} s"])


def format_throughput(images: float) -> str:
    """Format a throughput such as "967 img/s", or "0.42 img/s" of a detector on a CPU."""
    return f"{images:,.0f} img/s" if images >= 10 else f"{images:.2g} img/s"
