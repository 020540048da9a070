"""Follow a batch through a network: its layers in the order in which they are computed, and BatchNorm's statistics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...models.backbone import get_backbone
from ...models.layers import keep_statistics
from .base import Subject

Visit = Callable[[str, nn.Module, Tensor, Tensor], None]  # name, module, its input and output
BATCH = 128  # images at once, where none depends on the others


@dataclass(frozen=True)
class Layer:
    """A layer with weights; ``depth`` counts from 1 along the longest way, and is 0 for a projection shortcut."""

    name: str
    module: nn.Conv2d | nn.Linear
    depth: int

    @property
    def kind(self) -> str:
        if not self.depth:
            return "shortcut"
        return "linear" if isinstance(self.module, nn.Linear) else "conv"


@contextmanager
def watch(network: nn.Module, visit: Visit, kinds: tuple[type[nn.Module], ...] = (nn.Module,)) -> Iterator[None]:
    """Call ``visit`` after each module of these kinds has computed, while inside the block."""

    def make_hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: visit(name, module, inputs[0], output)

    hooks = [
        module.register_forward_hook(make_hook(name))
        for name, module in network.named_modules()
        if isinstance(module, kinds)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def list_layers(subject: Subject) -> list[Layer]:
    """Return the convolutions and linear layers in the order in which they are computed."""
    found: list[Layer] = []

    def visit(name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        depth = 0 if "shortcut" in name.split(".") else 1 + max((layer.depth for layer in found), default=0)
        found.append(Layer(name, module, depth))

    with watch(subject.network, visit, (nn.Conv2d, nn.Linear)):
        subject.network(subject.images[:1])
    return found


def list_blocks(network: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    """Return the blocks of a backbone, the stem first, with their names in the network."""
    names = {module: path for path, module in network.named_modules()}
    parts = [module for part in get_backbone(network, name).parts for module in part]
    blocks = [child for part in parts for child in (part.children() if is_stage(part, parts[0]) else (part,))]
    return [(names[block], block) for block in blocks]


def is_stage(part: nn.Module, stem: nn.Module) -> bool:
    """Tell whether a part of a backbone is a row of blocks, each of them deep."""
    inner = list(part.children())
    return part is not stem and isinstance(part, nn.Sequential) and any(list(child.children()) for child in inner)


@contextmanager
def use_batch_statistics(network: nn.Module) -> Iterator[None]:
    """Let BatchNorm normalise by the batch, as in training, inside the block; its running statistics stay."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
    try:
        with keep_statistics(network):
            yield
    finally:
        for norm in norms:
            norm.eval()


@torch.no_grad()
def estimate_statistics(network: nn.Module, images: Tensor) -> None:
    """Set BatchNorm's running statistics to the mean over batches of these images; all else is in evaluation mode."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a mean over all batches, each counting the same
        norm.train()
    for batch in images.split(BATCH):
        if len(batch) > 1:
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
