"""Four torchmetrics, updated at each step and computed at the epoch's end, as torchmetrics' manual recommends.

`forward` also computes each batch's value; where only the epoch's is wanted, `update` and `compute` cost less. The
collection's compute groups, which are on by default, update metrics with the same state once: precision, recall and F1.
"""

import torch.nn.functional as F
from torch import Tensor

from .logged_metrics import Bare, make_metrics


class Updated(Bare):
    """A step that updates the metrics; they are computed, logged and reset at the epoch's end."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.metrics = make_metrics(classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, labels = batch
        logits = self.model(inputs)
        self.metrics.update(logits, labels)
        return F.cross_entropy(logits, labels)

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.metrics.compute())
        self.metrics.reset()
