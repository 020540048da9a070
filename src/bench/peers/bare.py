"""Train an epoch and evaluate in plain PyTorch, without a framework."""

from collections.abc import Callable, Generator, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def train_epoch(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    classes: int,
    bf16: bool,
) -> Generator[None, None, tuple[float, Tensor]]:
    """Train an epoch, pausing after each step.

    Return its mean loss and its confusion matrix int64 [C, C], from which every metric follows.
    """
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
        yield
    return float(total / confusion.sum()), confusion.view(classes, classes)


def capture_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, *, classes: int, bf16: bool
) -> Callable[[Iterable[tuple[Tensor, Tensor]]], float]:
    """Return an epoch that replays one CUDA graph, recorded as PyTorch's manual shows it, and returns its mean loss.

    ``images`` and ``labels`` are a batch on the GPU; all batches have its shape.
    """
    model.train()
    images, labels = torch.empty_like(images).copy_(images), labels.clone()
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=images.device)
    total = torch.zeros((), dtype=torch.float64, device=images.device)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16, cache_enabled=False):
            logits = model(images)
            loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        cells = labels * classes + logits.detach().argmax(dim=1)
        confusion.scatter_add_(0, cells, torch.ones_like(cells))
        total.add_(loss.detach() * len(labels))

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        step()

    def epoch(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        confusion.zero_()
        total.zero_()
        for batch in batches:
            images.copy_(batch[0])
            labels.copy_(batch[1])
            graph.replay()
        return float(total / confusion.sum())  # waits for the GPU

    return epoch


@torch.inference_mode()
def predict(model: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Return the predicted classes int64 [N], in the precision and the memory format that model and images have."""
    model.eval()
    return torch.cat([model(images).argmax(dim=1) for images in batches])
