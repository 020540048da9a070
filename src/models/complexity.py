"""How large a network is and how much it computes; nothing is executed, shapes are enough."""

import copy
from itertools import chain

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """The number of learned values; running statistics are not among them."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, channels: int, size: int) -> int:
    """Multiply-adds for one image of ``size`` x ``size`` pixels, in convolutions and matrix products only.

    The model keeps its device, mode and statistics: what runs is a copy of its shapes.
    """
    copies: dict[int, object] = {
        id(tensor): torch.empty_like(tensor, device="meta") for tensor in chain(model.parameters(), model.buffers())
    }
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            copies[id(module)] = nn.Identity()  # is not counted, and takes most of the time
    shapes = copy.deepcopy(model, copies).eval()
    image = torch.empty(1, channels, size, size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(image)
    flops: int = counter.get_total_flops()
    return flops // 2
