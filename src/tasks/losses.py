"""Losses of classification as pure functions; cross-entropy is torch's."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, one_hot


def squared_error(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Return the mean over images of the squared distance [] between probabilities and target (Brier 1950).

    logits: [B, C]; labels: int64 [B], or fractions of the classes, float [B, C]. It is 0 for certainty in the right
    class and 2 for certainty in a wrong one. Smoothing spreads a fraction of the target over all classes, as torch's.
    ``weight`` [C] is that of each class in the mean.
    """
    classes = logits.shape[1]
    fractions = (labels if labels.is_floating_point() else one_hot(labels, classes)).to(logits.dtype)
    target = fractions * (1 - label_smoothing) + label_smoothing / classes
    distance = (logits.softmax(dim=1) - target).square().sum(dim=1)
    if weight is None:
        return distance.mean()
    of_images = fractions @ weight.to(logits.dtype)
    return (of_images * distance).sum() / of_images.sum()


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy [] over all labels and images; logits, targets (0 or 1): [B, C]."""
    return binary_cross_entropy_with_logits(logits, targets)


def asymmetric_loss(
    logits: Tensor, targets: Tensor, *, gamma_negative: float = 4.0, gamma_positive: float = 0.0, margin: float = 0.05
) -> Tensor:
    """Return the mean asymmetric loss [] over all labels and images (Ridnik et al. 2021); logits, targets: [B, C].

    With the probability p, a present label (target 1) costs (1 - p)^gamma_positive * -log(p). The probability of an
    absent one (target 0) is first lowered by the margin to m = max(p - margin, 0); it costs m^gamma_negative *
    -log(1 - m). So easy negatives, of which an image has many, count little or not at all. With all three numbers at 0
    it is binary cross-entropy. The gammas are 0 or at least 1, else the gradient is infinite where m is 0.
    """
    absent = (logits.neg().sigmoid() + margin).clamp(max=1)  # 1 - m
    log_absent = absent.log() if margin else logsigmoid(-logits)  # the former is accurate only with a margin
    positive, negative = -logsigmoid(logits), -log_absent
    if gamma_positive:
        positive = positive * logits.neg().sigmoid() ** gamma_positive
    if gamma_negative:
        negative = negative * (1 - absent) ** gamma_negative
    return (targets * positive + (1 - targets) * negative).mean()
