"""A training epoch and an evaluation in plain PyTorch, without a framework."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def train(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    classes: int,
    bf16: bool,
) -> tuple[float, Tensor]:
    """An epoch; returns its mean loss and its confusion matrix int64 [C, C], from which every metric follows."""
    model.train()
    confusion = torch.zeros(classes * classes, dtype=torch.int64)
    total = torch.zeros((), dtype=torch.float64)
    for images, labels in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images)
            loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cells = labels * classes + logits.detach().argmax(dim=1)
        confusion.scatter_add_(0, cells, torch.ones_like(cells))
        total += loss.detach() * len(labels)
    return float(total / confusion.sum()), confusion.view(classes, classes)


@torch.inference_mode()
def predict(model: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """The predicted classes int64 [N], in the precision and the memory format that model and images have."""
    model.eval()
    return torch.cat([model(images).argmax(dim=1) for images in batches])
