"""Compute how far a classifier's probabilities can be trusted, from its logits float64 [N, K] and the labels [N]."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from ..report.health import Bin, bin_confidences, compute_ece

COVERAGES = (0.8, 0.9)  # fractions of the images that are answered
LEVEL = 0.9  # of the conformal sets
LEAST, MOST = 0.05, 50.0  # a temperature, where the search ends


@dataclass(frozen=True)
class Calibration:
    """The probabilities of a split at one temperature: their loss, and how they agree with the hits."""

    nll: float
    ece: float
    bins: Sequence[Bin]


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T that gives softmax(logits / T) the least mean negative log-likelihood.

    As Platt (1999) does, the labels count as if one image more had been seen, whose label is any class: without an
    error on validation, T would otherwise fall to 0 and a single error of the test cost without bound. The loss is
    convex in 1 / T, so a search by the golden section finds it.
    """
    low, high = 1 / MOST, 1 / LEAST
    ratio = (5**0.5 - 1) / 2

    def compute_loss(inverse: float) -> float:
        return float(cross_entropy(logits * inverse, labels, label_smoothing=1 / (len(labels) + 1)))

    left, right = high - ratio * (high - low), low + ratio * (high - low)
    loss_left, loss_right = compute_loss(left), compute_loss(right)
    while high - low > 1e-7 * high:
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - ratio * (high - low)
            loss_left = compute_loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + ratio * (high - low)
            loss_right = compute_loss(right)
    return 2 / (low + high)


def measure_calibration(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Calibration:
    """Measure the loss and the expected calibration error (15 bins) at a temperature."""
    confidence, predicted = (logits / temperature).softmax(dim=1).max(dim=1)
    bins = bin_confidences(confidence.numpy(), (predicted == labels).numpy())
    return Calibration(float(cross_entropy(logits / temperature, labels)), compute_ece(bins), bins)


def measure_selective(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> dict[str, float]:
    """Measure the accuracy on the images that the network is surest of, and the area under risk over coverage.

    AURC (Geifman & El-Yaniv 2017) is the mean of the error over all coverages, 0 at best. Images of one confidence
    count as their mean, so that their order in the set does not matter.
    """
    confidence, predicted = (logits / temperature).softmax(dim=1).max(dim=1)
    order = confidence.argsort(descending=True, stable=True)
    _, places, counts = confidence[order].unique_consecutive(return_inverse=True, return_counts=True)
    wrong = (predicted != labels)[order].double()
    wrong = (torch.zeros(len(counts), dtype=torch.float64).index_add_(0, places, wrong) / counts)[places]
    risk = wrong.cumsum(0) / torch.arange(1, len(wrong) + 1, dtype=torch.float64)
    found = {f"accuracy_at_{round(100 * part)}": 1 - float(risk[find_rank(len(risk), part)]) for part in COVERAGES}
    return found | {"aurc": float(risk.mean())}


def find_rank(count: int, fraction: float) -> int:
    """Return the place of the last of the first ``fraction`` of ``count`` images, at least one."""
    return max(1, round(fraction * count)) - 1


def measure_conformal(
    val_logits: Tensor, val_labels: Tensor, logits: Tensor, labels: Tensor, temperature: float = 1.0
) -> dict[str, float] | None:
    """Measure split-conformal sets, calibrated on validation so that 9 of 10 hold the label.

    The score is 1 - the probability of a class (Sadinle et al. 2019). Returns the fraction of the test's sets that hold
    the label and their mean size; None where validation has too few images for this level.
    """
    rank = math.ceil(round((len(val_labels) + 1) * LEVEL, 6))
    if rank > len(val_labels):
        return None
    own = log_softmax(val_logits / temperature, dim=1).gather(1, val_labels[:, None])[:, 0]
    least = own.sort(descending=True).values[rank - 1]
    inside = log_softmax(logits / temperature, dim=1) >= least
    held = inside.gather(1, labels[:, None]).double().mean()
    sizes = inside.sum(dim=1).double()
    empty = float((sizes == 0).double().mean())
    return {"level": LEVEL, "coverage": float(held), "mean_size": float(sizes.mean()), "empty": empty}
