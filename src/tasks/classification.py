"""Multi-class classification: the loss of a step as a pure function, and the LightningModule around it."""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.info import DatasetInfo
from ..files import write_atomic, write_rows
from ..metrics.confusion import ClassificationMetrics, compute_class_metrics, count_top_k, find_cells
from .base import Task, TaskSettings, gather_columns, use_full_precision
from .losses import squared_error
from .sheets import ROW, Guess, draw_guess_sheet

if TYPE_CHECKING:
    from typing_extensions import Unpack


def write_test_files(path: Path, *, confusion: "Tensor", classes: Sequence[str], predictions: "Tensor") -> None:
    """Write confusion_matrix.csv (rows: true), per_class.csv and test_predictions.npz.

    confusion: int64 [C, C]; predictions: float64 [4, N] of index, label, prediction and confidence, in any order of
    the samples.
    """
    write_rows(
        path / "confusion_matrix.csv",
        [
            ["true \\ predicted", *classes],
            *([name, *row] for name, row in zip(classes, confusion.tolist(), strict=True)),
        ],
    )
    table = compute_class_metrics(confusion)
    columns = [table[name].tolist() for name in ("precision", "recall", "f1", "support")]
    write_rows(
        path / "per_class.csv",
        [
            ["class", "precision", "recall", "f1", "support"],
            *(
                [name, *(f"{v:.6f}" for v in row[:3]), int(row[3])]
                for name, *row in zip(classes, *columns, strict=True)
            ),
        ],
    )
    index, label, predicted, confidence = predictions[:, predictions[0].argsort()].numpy()
    arrays = {
        "index": index.astype(np.int64),
        "label": label.astype(np.int64),
        "prediction": predicted.astype(np.int64),
        "confidence": confidence.astype(np.float32),
    }
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    write_atomic(path / "test_predictions.npz", packed.getbuffer())


Loss = Callable[..., Tensor]  # of logits [B, C] and labels; takes label_smoothing and weight


def find_loss(name: str) -> Loss:
    """Return the loss of this name, "cross_entropy" or "mse"."""
    return squared_error if name == "mse" else F.cross_entropy


def step(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
    loss: Loss = F.cross_entropy,
) -> tuple[Tensor, Tensor]:
    """Return the mean loss [] of a batch and the cells int64 [B] of its images in the confusion matrix.

    images: [B, C, H, W]; labels: int64 [B], or fractions of the classes, float [B, C], as of mixed images, of which
    the largest counts in the matrix. ``weight`` float [C] is that of each class in the mean.
    """
    logits = model(images)
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    value = loss(logits, labels, weight=weight, label_smoothing=label_smoothing)
    hard = labels.argmax(dim=1) if labels.is_floating_point() else labels
    return value, find_cells(logits, hard)


def balance_classes(counts: Sequence[int]) -> Tensor:
    """Return the weight of each class in the loss, float32 [C], the inverse of its images; their mean weight is 1."""
    images = torch.tensor(counts, dtype=torch.float32)
    return images.sum() / (images.clamp(min=1) * max(1, int((images > 0).sum())))


def compute_scores(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return the logits float32 [B, C] of images [B, C, H, W].

    Of K crops an image, [B, K, C, H, W], return the logarithms of the mean probabilities, as Krizhevsky et al. (2012)
    average ten crops.
    """
    if images.ndim == 4:
        return model(images).float()
    logits = model(images.flatten(0, 1)).float().unflatten(0, images.shape[:2])
    return logits.log_softmax(dim=2).logsumexp(dim=1) - math.log(images.shape[1])


class ClassificationTask(Task):
    """Train a network to name the one class of an image, and count its hits and misses."""

    name = "multiclass"
    train_metrics: ClassificationMetrics

    def __init__(
        self,
        *,
        num_classes: int,
        label_smoothing: float = 0.0,
        test_flip: bool = False,
        loss: str = "cross_entropy",
        headline: str = "",
        class_counts: Sequence[int] = (),
        **common: "Unpack[TaskSettings]",
    ) -> None:
        """Set up the metrics; `common` are the arguments of Task.

        With `test_flip` the test also evaluates the mean over each image and its mirror image. The `loss` is also what
        validation and test report, there without smoothing. `headline` is another metric to choose the best epoch by.
        With `class_counts`, the training images of each class, each class weighs the same in the loss.
        """
        super().__init__(**common)
        self.loss = find_loss(loss)
        self.chosen_headline = headline
        weight = balance_classes(class_counts) if class_counts else None
        self.register_buffer("class_weight", weight, persistent=False)
        self.label_smoothing = label_smoothing
        top5 = num_classes > 5
        self.train_metrics = ClassificationMetrics(num_classes)
        self.val_metrics = nn.ModuleDict(
            {split: ClassificationMetrics(num_classes, top5=top5) for split in self.monitored}
        )
        self.test_metrics = ClassificationMetrics(num_classes, top5=top5)
        self.flip_metrics = ClassificationMetrics(num_classes) if test_flip else None
        self.predictions: list[Tensor] = []

    @property
    def headline(self) -> str:
        return self.chosen_headline or super().headline

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, cells = (self.captured or self.compute)(*batch)
        self.train_metrics.update(cells, loss)
        return loss

    def compute(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        weight = cast("Tensor | None", self.class_weight)
        return step(self.model, *batch, label_smoothing=self.label_smoothing, weight=weight, loss=self.loss)

    def read_running_figures(self) -> dict[str, Tensor]:
        metrics = self.train_metrics
        metrics.count()
        confusion = metrics.confusion
        samples = confusion.sum().clamp(min=1)
        return {"loss": metrics.loss / samples, "accuracy": confusion.diagonal().sum() / samples}

    def on_train_epoch_end(self) -> None:
        self._collect("train", self.train_metrics)
        super().on_train_epoch_end()

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int, dataloader_idx: int = 0) -> None:
        images, labels, _ = batch
        self._evaluate(self._get_val_metrics(self.monitored[dataloader_idx]), images, labels)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        for split in self.monitored:
            self._collect(split, self._get_val_metrics(split))
        self.publish(*self.monitored)

    def on_test_epoch_start(self) -> None:
        self.predictions = []
        self.epoch_metrics = {}

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        images, labels, indices = batch
        with use_full_precision(self.device):
            logits = self._evaluate(self.test_metrics, images, labels)
            if self.flip_metrics is not None:
                self._evaluate_flipped(self.flip_metrics, logits, images, labels)
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        self.predictions.append(
            torch.stack([indices.double(), labels.double(), predicted.double(), confidence.double()])
        )

    def on_test_epoch_end(self) -> None:
        self.test_confusion = self._collect("test", self.test_metrics).cpu()
        if self.flip_metrics is not None:
            self.epoch_metrics["test/accuracy_flip"] = float(self.flip_metrics.compute()["accuracy"])
            self.flip_metrics.reset()
        self.publish("test")
        self.tested = gather_columns(self.predictions, 4)
        self.seen = self.tested.shape[1]

    def write_test_files(self, path: Path, info: DatasetInfo) -> None:
        write_test_files(path, confusion=self.test_confusion, classes=info.classes, predictions=self.tested)

    def draw_test_sheet(self) -> Tensor | None:
        """Draw test pictures: wrong ones, the most certain first, and right ones of least and of most confidence."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None or not self.seen:
            return None
        index, label, predicted, confidence = self.tested[:, self.tested[3].argsort(descending=True, stable=True)]
        wrong, right = (torch.nonzero(mask).flatten().tolist() for mask in (label != predicted, label == predicted))
        names = data.info.classes

        def collect(places: list[int]) -> list[Guess]:
            return [
                Guess(
                    data.get_picture("test", int(index[k])),
                    names[int(label[k])],
                    names[int(predicted[k])],
                    float(confidence[k]),
                )
                for k in places
            ]

        return draw_guess_sheet(
            {
                f"{len(wrong):,} of {self.seen:,} test pictures are wrong; the most certain:": collect(
                    wrong[: 2 * ROW]
                ),
                f"{len(right):,} are right; the least certain:": collect(right[-ROW:][::-1]),
                "… and the most certain:": collect(right[:ROW]),
            }
        )

    def get_confusion(self) -> Tensor | None:
        return self.test_confusion

    def _get_val_metrics(self, split: str) -> ClassificationMetrics:
        return cast(ClassificationMetrics, self.val_metrics[split])

    def _evaluate(self, metrics: ClassificationMetrics, images: Tensor, labels: Tensor) -> Tensor:
        """Count a batch, and return its logits [B, C]."""
        logits = compute_scores(self.evaluation_copy or self.model, images)
        top5 = count_top_k(logits, labels, 5) if metrics.counts_top5 else None
        metrics.update(find_cells(logits, labels), self.loss(logits, labels), top5)
        return logits

    def _evaluate_flipped(self, metrics: ClassificationMetrics, logits: Tensor, images: Tensor, labels: Tensor) -> None:
        """Count a batch by the mean probabilities of its images, whose logits are [B, C], and their mirror images."""
        mirrored = compute_scores(self.model, images.flip(-1))
        mean = torch.logaddexp(logits.log_softmax(dim=1), mirrored.log_softmax(dim=1)) - math.log(2)
        metrics.update(find_cells(mean, labels), self.loss(mean, labels))

    def _collect(self, split: str, metrics: ClassificationMetrics) -> Tensor:
        """Move a split's metrics into `epoch_metrics`, and return the confusion matrix of all processes."""
        values = metrics.compute()
        confusion = values.pop("confusion")
        self.epoch_metrics |= {f"{split}/{name}": float(value) for name, value in values.items()}
        metrics.reset()
        return confusion
