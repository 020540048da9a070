"""Multi-label classification: the loss of a step as a pure function, and the LightningModule around it."""

import io
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..cli.console import say
from ..data.info import DatasetInfo
from ..files import write_atomic, write_rows
from ..metrics.multilabel import (
    RunningCounts,
    compute_average_precisions,
    compute_class_scores,
    count_labels,
    find_best_threshold,
    measure_split,
)
from .base import Task, TaskSettings, gather_columns, use_full_precision
from .losses import asymmetric_loss, binary_cross_entropy
from .sheets import choose_images, draw_label_sheet

if TYPE_CHECKING:
    from typing_extensions import Unpack

Loss = Callable[[Tensor, Tensor], Tensor]


TRAIN_THRESHOLD = 0.5  # for the figures of the training epoch, which come before validation chooses a threshold


def build_loss(name: str, *, gamma_negative: float, gamma_positive: float, margin: float) -> Loss:
    """Build the loss of this name, "bce" or "asymmetric"; only the latter uses the numbers."""
    if name == "bce":
        return binary_cross_entropy
    return partial(asymmetric_loss, gamma_negative=gamma_negative, gamma_positive=gamma_positive, margin=margin)


def step(model: nn.Module, images: Tensor, targets: Tensor, *, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return the mean loss [] and the logits float32 [B, C] of a batch.

    images: [B, C, H, W]; targets: 0 or 1, float32 [B, C].
    """
    logits = model(images).float()
    return loss(logits, targets), logits.detach()


class MultilabelTask(Task):
    """Train a network to name every class that an image shows.

    Validation chooses the threshold with the best macro F1, anew in each epoch; the test uses the one that belongs to
    its weights (``adopt``), or 0.5 where there was no validation. mAP, the headline metric, needs no threshold.
    """

    name = "multilabel"
    train_metrics: RunningCounts

    def __init__(self, *, num_classes: int, loss: Loss, summed: bool = False, **common: "Unpack[TaskSettings]") -> None:
        """Set up the metrics; `common` are the arguments of Task.

        With `summed` the training minimises the sum of the loss over the labels and images of a whole batch instead of
        its mean; the loss that is reported stays the mean.
        """
        super().__init__(**common)
        self.loss = loss
        self.summed = summed
        self.num_classes = num_classes
        self.threshold: float | None = None  # as chosen on the validation set
        self.train_metrics = RunningCounts(num_classes)
        self.collected: dict[str, list[Tensor]] = {}

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, logits = (self.captured or self.compute)(*batch)
        mean = loss / self._count_terms(batch[1]) if self.summed else loss
        self.train_metrics.update(logits.sigmoid() >= TRAIN_THRESHOLD, batch[1] > 0, mean)
        return loss

    def compute(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        loss, logits = step(self.model, *batch, loss=self.loss)
        return (loss * self._count_terms(batch[1]) if self.summed else loss), logits

    def read_running_figures(self) -> dict[str, Tensor]:
        metrics = self.train_metrics
        hits, predicted, positive = metrics.counts.sum(dim=1)
        return {
            "loss": metrics.loss / metrics.samples.clamp(min=1),
            "micro_f1": 2 * hits / (predicted + positive).clamp(min=1),
        }

    def on_train_epoch_end(self) -> None:
        self.epoch_metrics |= {f"train/{name}": value for name, value in self.train_metrics.compute().items()}
        self.train_metrics.reset()
        super().on_train_epoch_end()

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.collected = {split: [] for split in self.monitored}

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int, dataloader_idx: int = 0) -> None:
        self._collect(self.monitored[dataloader_idx], *batch)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        for split in self.monitored:
            indices, logits, present = self._gather(split)
            if split == "val":
                self.threshold = find_best_threshold(logits.sigmoid(), present)
                self.validated = indices, logits.sigmoid(), present
            self._measure(split, logits, present)
        self.publish(*self.monitored)

    def on_test_epoch_start(self) -> None:
        self.collected = {"test": []}
        self.epoch_metrics = {}
        if self.threshold is None and self.global_rank == 0:
            say("The threshold is 0.5, because there was no validation set to choose one.")

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        with use_full_precision(self.device):
            self._collect("test", *batch)

    def on_test_epoch_end(self) -> None:
        self.tested = indices, logits, present = self._gather("test")
        self.seen = len(indices)
        self._measure("test", logits, present)
        self.publish("test")

    def draw_contact_sheet(self) -> Tensor | None:
        """Draw photos of the last validation above their right, missed and false labels, uint8 [3, H, W]."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if "val" not in self.monitored or not (rows := choose_images(self.validated[2])):
            return None
        indices, scores, present = (part[rows] for part in self.validated)
        paths = [data.root / os.fsdecode(data.splits["val"].images[i]) for i in indices.tolist()]
        names, found = data.info.classes, []
        for row in scores:
            likely = [k for k in row.argsort(descending=True).tolist() if row[k] >= (self.threshold or 0.0)]
            found.append({names[k]: float(row[k]) for k in likely})
        true = [[names[k] for k in torch.nonzero(row).flatten().tolist()] for row in present]
        return draw_label_sheet(paths, true, found)

    def write_test_files(self, path: Path, info: DatasetInfo) -> None:
        """Write per_class.csv and test_predictions.npz (index, id, labels and scores [N, C])."""
        indices, logits, present = self.tested
        scores = logits.sigmoid()
        precisions = compute_average_precisions(scores, present)
        counts = count_labels(scores.double() >= self.epoch_metrics["test/threshold"], present)
        columns = [
            counts[2].tolist(),
            precisions.tolist(),
            *(c.tolist() for c in compute_class_scores(counts).values()),
        ]
        rows = zip(info.classes, *columns, strict=True)
        head = ["class", "positives", "ap", "precision", "recall", "f1"]
        write_rows(
            path / "per_class.csv",
            [head, *([name, count, *(f"{v:.6f}" for v in values)] for name, count, *values in rows)],
        )
        arrays: dict[str, Any] = {
            "index": indices.numpy(),
            "labels": present.numpy(),
            "scores": scores.numpy(),
        }
        ids: dict[str, Any] = getattr(self.trainer.datamodule, "image_ids", {})  # type: ignore[attr-defined]
        if "test" in ids:
            arrays["image_id"] = ids["test"][arrays["index"]]
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)
        write_atomic(path / "test_predictions.npz", packed.getbuffer())

    def adopt(self, checkpoint: Mapping[str, object]) -> None:
        """Take from a checkpoint the threshold that belongs to its weights."""
        self.threshold = cast(float | None, checkpoint.get("threshold"))

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["threshold"] = self.threshold

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.adopt(checkpoint)

    def _count_terms(self, targets: Tensor) -> int:
        """Return the number of labels in a whole batch, whose parts' gradients Lightning and DDP average."""
        return targets.numel() * self.trainer.world_size * self.trainer.accumulate_grad_batches

    def _collect(self, split: str, images: Tensor, targets: Tensor, indices: Tensor) -> None:
        logits = (self.evaluation_copy or self.model)(images).float()
        columns = [indices.double()[None], logits.double().T, targets.double().T]
        self.collected[split].append(torch.cat(columns))

    def _gather(self, split: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return the indices int64 [N], ascending, logits float32 [N, C] and presence bool [N, C] of all processes."""
        columns = gather_columns(self.collected.pop(split), 1 + 2 * self.num_classes)
        columns = columns[:, columns[0].argsort()]
        index, logits, present = columns.split([1, self.num_classes, self.num_classes])
        return index[0].long(), logits.T.float().contiguous(), present.T.bool().contiguous()

    def _measure(self, split: str, logits: Tensor, present: Tensor) -> None:
        """Put a split's metrics into `epoch_metrics`."""
        threshold = 0.5 if self.threshold is None else self.threshold
        values = measure_split(logits.sigmoid(), present, threshold)
        values["loss"] = float(self.loss(logits, present.float()))
        self.epoch_metrics |= {f"{split}/{name}": value for name, value in values.items()}
