"""List a network layer by layer: output shapes, parameters and multiply-adds. Nothing is computed, shapes suffice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .complexity import count_parameters


@dataclass(frozen=True)
class LayerSummary:
    """A layer where it is first run: its shape for one image, [C, H, W] or [C], and what it holds and computes.

    `statistics` are running means and variances, which are no parameters here and are in Keras.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    params: int
    statistics: int
    macs: int


def summarize_layers(model: nn.Module, channels: int, size: int) -> list[LayerSummary]:
    """List the layers of a network on the meta device in the order in which an image passes them.

    A layer is a module without modules, or one that holds parameters of its own; what passes an image on unchanged
    (nn.Identity) is none. Multiply-adds are those of
    convolutions and matrix products, as in count_macs. A layer that runs again is listed once, with all its arithmetic.
    """
    names = {module: name for name, module in model.named_modules()}
    found: dict[nn.Module, tuple[int, ...]] = {}
    macs: dict[nn.Module, int] = {}
    counter = FlopCounterMode(display=False)
    begun: list[int] = []

    def begin(module: nn.Module, inputs: object) -> None:
        begun.append(counter.get_total_flops())

    def end(module: nn.Module, inputs: object, output: object) -> None:
        macs[module] = macs.get(module, 0) + (counter.get_total_flops() - begun.pop()) // 2
        if isinstance(output, Tensor):
            found.setdefault(module, tuple(output.shape[1:]))

    layers = [module for module in model.modules() if is_layer(module)]
    handles = [module.register_forward_pre_hook(begin) for module in layers]
    handles += [module.register_forward_hook(end) for module in layers]
    training = model.training
    try:
        with torch.no_grad(), counter:
            model.eval()(torch.empty(1, channels, size, size, device="meta"))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return [
        LayerSummary(
            names[module],
            type(module).__name__,
            shape,
            sum(parameter.numel() for parameter in module.parameters(recurse=False)),
            count_statistics(module, recurse=False),
            macs[module],
        )
        for module, shape in found.items()
    ]


def is_layer(module: nn.Module) -> bool:
    """Tell whether a module is a row of the table: a leaf that does something, or one with parameters of its own."""
    leaf = not any(module.children()) and not isinstance(module, nn.Identity)
    return leaf or any(True for _ in module.parameters(recurse=False))


def count_statistics(model: nn.Module, *, recurse: bool = True) -> int:
    """Return the number of running means and variances, which Keras counts as parameters that are not trained."""
    return sum(buffer.numel() for buffer in model.buffers(recurse) if buffer.is_floating_point())


def format_layers(layers: Sequence[LayerSummary], model: nn.Module) -> Iterator[str]:
    """Iterate over the lines of a table of layers, with the totals below."""
    head = ["layer", "kind", "output", "parameters", "multiply-adds"]
    rows = [
        [layer.name, layer.kind, " x ".join(map(str, layer.shape)), f"{layer.params:,}", f"{layer.macs:,}"]
        for layer in layers
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    sides = (str.ljust,) * 3 + (str.rjust,) * 2
    for i, cells in enumerate([head, *rows]):
        yield "  ".join(side(cell, width) for side, cell, width in zip(sides, cells, widths, strict=True)).rstrip()
        if not i:
            yield "-" * (sum(widths) + 2 * len(widths) - 2)
    yield ""
    for name, value in summarize_totals(layers, model).items():
        yield f"{name}: {value:,}"


def summarize_totals(layers: Sequence[LayerSummary], model: nn.Module) -> dict[str, int]:
    """Return what the whole network holds and computes, and what it holds without its head."""
    head = [module for name, module in model.named_children() if name == "head"]
    in_head = sum(count_parameters(module) + count_statistics(module) for module in head)
    params, statistics = count_parameters(model), count_statistics(model)
    totals = {"parameters": params, "with buffers, as Keras counts": params + statistics}
    if head:
        totals["the same without the head"] = params + statistics - in_head
    return totals | {"multiply-adds": sum(layer.macs for layer in layers)}
