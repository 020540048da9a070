"""Compute metrics where an image has any number of labels, from all scores [N, C] and the truth [N, C].

Macro means are torchmetrics' own: over all classes, where a ratio without a denominator counts 0, as does a class that
has no positives. They are computed a second time over the classes that occur in labels or predictions, for a small
split has few of them. A label is predicted where its score reaches the threshold.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric


def count_labels(predicted: Tensor, present: Tensor) -> Tensor:
    """Count the hits, predictions and positives of each class: int64 [3, C], from bool [N, C] each."""
    return torch.stack([(predicted & present).sum(dim=0), predicted.sum(dim=0), present.sum(dim=0)])


def compute_from_counts(counts: Tensor, exact: int, samples: int) -> dict[str, float]:
    """Compute accuracy by label ("accuracy") and by image ("exact"), macro and micro precision, recall and F1.

    ``counts``: see ``count_labels``; ``exact``: the number of samples that have all their labels right and no other.
    """
    hits, predicted, positive = counts.double().cpu()
    occurs = predicted + positive > 0  # a class that is predicted in error counts, although it has no positives
    columns = compute_class_scores(counts)
    wrong = float((predicted + positive - 2 * hits).sum())
    named = {name: _average(column) for name, column in columns.items()}
    named |= {f"{name}_occurring": _average(column[occurs]) for name, column in columns.items()}
    total = compute_class_scores(counts.sum(dim=1, keepdim=True))
    named |= {f"micro_{name}": float(value) for name, value in total.items()}
    return {
        "accuracy": 1 - wrong / max(samples * len(hits), 1),
        "exact": exact / max(samples, 1),
        **named,
        "classes_with_positives": float((positive > 0).sum()),
    }


def compute_class_scores(counts: Tensor) -> dict[str, Tensor]:
    """Compute precision, recall and F1 [C] from counts [3, C]; a ratio without a denominator is 0."""
    hits, predicted, positive = counts.double().cpu()
    return {
        "precision": hits / predicted.clamp(min=1),
        "recall": hits / positive.clamp(min=1),
        "f1": 2 * hits / (predicted + positive).clamp(min=1),
    }


def _average(values: Tensor) -> float:
    return float(values.mean()) if len(values) else 0.0


def compute_average_precisions(scores: Tensor, present: Tensor) -> NDArray[np.float64]:
    """Compute the average precision [C] of each class from scores [N, C] and present bool [N, C].

    It is NaN for a class without positives.
    """
    from sklearn.metrics import average_precision_score

    s, t = scores.cpu().numpy(), present.cpu().numpy()
    return np.array([average_precision_score(b, a) if b.any() else np.nan for a, b in zip(s.T, t.T, strict=True)])


def find_best_threshold(scores: Tensor, present: Tensor) -> float:
    """Find the one threshold for all classes with the highest macro F1, halfway between the scores around it.

    It is exact: lowering the threshold past a score changes the F1 of that score's class alone, so the sum of all
    classes' F1 over all thresholds is a running sum over the sorted scores. scores [N, C], present bool [N, C].
    """
    s, t = scores.double().cpu().numpy(), present.cpu().numpy()
    order = np.argsort(-s, axis=0, kind="stable")
    hits = np.cumsum(np.take_along_axis(t, order, axis=0), axis=0)
    predicted = np.arange(1, len(s) + 1)[:, None]
    f1 = 2 * hits / (predicted + t.sum(axis=0))
    gains = np.diff(f1, axis=0, prepend=0.0).ravel()
    falling = np.take_along_axis(s, order, axis=0).ravel()
    places = np.argsort(-falling, kind="stable")
    falling, total = falling[places], np.cumsum(gains[places])
    cuts = np.flatnonzero(np.diff(falling, append=-1.0))  # equal scores must stay together
    if not len(cuts):
        return 0.5
    best = int(cuts[np.argmax(total[cuts])])
    below = falling[best + 1] if best + 1 < len(falling) else 0.0
    return float((falling[best] + below) / 2)


def measure_split(scores: Tensor, present: Tensor, threshold: float) -> dict[str, float]:
    """Compute all metrics of a split: mAP (the mean average precision that there is), and ``compute_from_counts``."""
    predicted = scores.double() >= threshold
    exact = int((predicted == present).all(dim=1).sum())
    precisions = compute_average_precisions(scores, present)
    occurs = ~np.isnan(precisions)
    mean = float(precisions[occurs].mean()) if occurs.any() else 0.0
    return {
        "map": mean,
        **compute_from_counts(count_labels(predicted, present), exact, len(scores)),
        "threshold": threshold,
    }


class RunningCounts(Metric):
    """Sum counts (``count_labels``), exact matches, loss and samples over an epoch of training and all processes."""

    full_state_update = False
    counts: Tensor
    exact: Tensor
    loss: Tensor
    samples: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros((3, num_classes), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("exact", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("loss", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, present: Tensor, loss: Tensor) -> None:
        """Add a batch: predicted and present labels, bool [B, C], and its mean loss []."""
        self.counts += count_labels(predicted, present)
        self.exact += (predicted == present).all(dim=1).sum()
        self.loss += loss.detach() * len(present)
        self.samples += len(present)

    def compute(self) -> dict[str, float]:
        samples = int(self.samples)
        values = compute_from_counts(self.counts, int(self.exact), samples)
        return values | {"loss": float(self.loss) / max(samples, 1)}
