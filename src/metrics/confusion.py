"""Compute accuracy, macro precision, recall and F1, top-5 and the loss of an epoch from one confusion matrix.

A step only finds the cells of its samples in the matrix. They are counted together on demand, at the latest when the
epoch ends, and all metrics are computed from the matrix then. They equal those of four stock metrics that are
forwarded at each step, which takes far longer (`python -m src.bench only=e`).
"""

from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def find_cells(logits: Tensor, labels: Tensor) -> Tensor:
    """Find each sample's cell in the flattened confusion matrix, whose rows are the true classes.

    Returns int64 [B], from logits [B, C] and labels int64 [B].
    """
    return torch.add(logits.argmax(dim=1), labels, alpha=logits.shape[1])


def count_top_k(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Count the labels that are among the k largest logits: int64 [], from logits [B, C] and labels int64 [B].

    A label whose own logit is NaN is no hit, although torch sorts NaN before every number.
    """
    found = (logits.topk(k, dim=1).indices == labels[:, None]).any(dim=1)
    return (found & ~logits.gather(1, labels[:, None])[:, 0].isnan()).sum()


class ClassificationMetrics(Metric):
    """Compute epoch metrics from an int64 confusion matrix [C, C], the summed loss and, on request, the top-5 hits.

    ``compute`` returns float32 scalars: accuracy, precision, recall, f1 (macro, see ``compute_metrics``), loss, top5;
    and the matrix itself. The states are summed over processes, so all is exact where each sample is counted once.
    They are up to date after ``count``, which ``sync`` and ``compute`` call.
    """

    full_state_update = False
    counts: Tensor  # of the matrix, row by row
    loss: Tensor
    top5: Tensor

    def __init__(self, num_classes: int, *, top5: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.counts_top5 = top5
        self.uncounted: list[tuple[Tensor, Tensor]] = []  # the cells and loss of the latest batches
        self.add_state("counts", torch.zeros(num_classes**2, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("loss", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("top5", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, cells: Tensor, loss: Tensor, top5: Tensor | None = None) -> None:
        """Add a batch: its samples' cells int64 [B], its mean loss [] and its top-5 hits int64 [].

        The tensors are kept until they are counted, so the caller must not write into them. torchmetrics runs this
        without gradients.
        """
        self.uncounted.append((cells, loss.detach()))
        if top5 is not None:
            self.top5.add_(top5)

    def count(self) -> None:
        """Count the batches that were added since the last call, without waiting for a GPU.

        Many are counted at once: an operation takes as long on one batch as on hundreds, and each of them would slow
        down the step of a small network.
        """
        for size, batches in groupby(self.uncounted, key=lambda batch: len(batch[0])):
            cells, losses = map(torch.stack, zip(*batches, strict=True))
            # not `bincount`, which would wait for the GPU to tell it the largest index
            self.counts.index_add_(0, cells.flatten(), torch.ones_like(cells).flatten())
            self.loss.add_(losses.sum(dtype=torch.float64), alpha=size)
        self.uncounted = []

    def sync(self, *args: Any, **kwargs: Any) -> None:
        self.count()
        super().sync(*args, **kwargs)

    def reset(self) -> None:
        # torchmetrics copies the first state: in inference mode, where a validation of its own runs, that copy could
        # not be updated by a later fit's
        with torch.inference_mode(False):
            super().reset()
        self.uncounted = []

    @property
    def confusion(self) -> Tensor:
        """Return the confusion matrix of what has been counted, int64 [C, C]."""
        return self.counts.view(self.num_classes, self.num_classes)

    def compute(self) -> dict[str, Tensor]:
        samples = self.confusion.sum()
        metrics = compute_metrics(self.confusion)
        metrics |= {"loss": (self.loss / samples).float(), "confusion": self.confusion}
        return metrics | {"top5": (self.top5 / samples).float()} if self.counts_top5 else metrics


def compute_metrics(confusion: Tensor) -> dict[str, Tensor]:
    """Compute accuracy and macro precision, recall and F1 from counts [C, C] whose rows are the true classes.

    A class that occurs neither in labels nor in predictions is left out of the macro mean; a ratio without a
    denominator counts as 0. Both are torchmetrics' conventions for multi-class tasks.
    """
    counts = confusion.double()
    hits, labelled, predicted = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    occurs = (labelled + predicted) > 0
    return {
        "accuracy": (hits.sum() / counts.sum()).float(),
        "precision": _divide(hits, predicted)[occurs].mean().float(),
        "recall": _divide(hits, labelled)[occurs].mean().float(),
        "f1": _divide(2 * hits, labelled + predicted)[occurs].mean().float(),
    }


def compute_class_metrics(confusion: Tensor) -> dict[str, Tensor]:
    """Compute precision, recall, F1 [C] and the number of true samples [C] of each class."""
    counts = confusion.double()
    hits, labelled, predicted = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    return {
        "precision": _divide(hits, predicted),
        "recall": _divide(hits, labelled),
        "f1": _divide(2 * hits, labelled + predicted),
        "support": labelled,
    }


def _divide(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, torch.zeros_like(part))
