"""Count the parameters and the multiply-adds of a network; nothing is computed, shapes are enough."""

import copy
from itertools import chain

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Return the number of learned values; running statistics are not among them."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, channels: int, size: int) -> int:
    """Return the multiply-adds for one image of ``size`` x ``size`` pixels, in convolutions and matrix products only.

    The model keeps its device, mode and statistics, because a copy of its shapes runs instead. Raises RuntimeError
    where the image is too small: a map vanishes, or a convolution with a stride meets a single pixel.
    """
    copies: dict[int, object] = {
        id(tensor): torch.empty_like(tensor, device="meta") for tensor in chain(model.parameters(), model.buffers())
    }
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            copies[id(module)] = nn.Identity()  # is not counted, and takes most of the time
    shapes = copy.deepcopy(model, copies).eval()
    for module in shapes.modules():
        if isinstance(module, nn.Conv2d) and min(module.kernel_size) > 1 < min(module.stride):
            module.register_forward_pre_hook(refuse_single_pixel)
    image = torch.empty(1, channels, size, size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(image)
    flops: int = counter.get_total_flops()
    return flops // 2


def refuse_single_pixel(conv: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Raise RuntimeError for a map of a single pixel (forward hook of convolutions with a stride).

    Nothing is left to stride over, and torch 2.15 gives such a convolution random gradients in bf16 on a CPU.
    """
    if max(inputs[0].shape[-2:]) == 1:
        raise RuntimeError("a convolution with a stride meets a map of a single pixel")
