"""Four torchmetrics, forwarded and logged at each step as torchmetrics' manual shows it, for the cost alone."""

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassPrecision, MulticlassRecall


def make_metrics(classes: int) -> MetricCollection:
    """Make the collection of accuracy and macro precision, recall and F1."""
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(classes, average="micro"),
            "precision": MulticlassPrecision(classes),
            "recall": MulticlassRecall(classes),
            "f1": MulticlassF1Score(classes),
        }
    )


class Bare(LightningModule):
    """A step that costs next to nothing: one linear layer and its loss."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.model = nn.Linear(features, classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, labels = batch
        return F.cross_entropy(self.model(inputs), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Logged(Bare):
    """The same step with the metrics of each step and of the epoch."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.metrics = make_metrics(classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, labels = batch
        logits = self.model(inputs)
        self.metrics(logits, labels)
        self.log_dict(self.metrics, on_step=True, on_epoch=True)
        return F.cross_entropy(logits, labels)
