"""The strength of each layer's response: He et al. 2016, Figure 7."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .base import Drawn, Found, Options, Probe, Row, Subject
from .canvas import choose_look, list_labels, make_panels
from .layers import watch

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@torch.no_grad()
def compute(subject: Subject, options: Options, part: str) -> Found:
    """Return the standard deviation of what each convolution gives, behind its BatchNorm where it has one.

    That is before the nonlinearity, and before the addition of the shortcut.
    """
    found: dict[str, tuple[str, float]] = {}
    last: tuple[str, Tensor] = ("", subject.images)

    def visit(name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        nonlocal last
        if isinstance(module, nn.Conv2d):
            last = name, y
            found[name] = "convolution", float(y.std())
        elif last[0] and x is last[1]:  # the BatchNorm right behind that convolution
            found[last[0]] = "BatchNorm", float(y.std())

    with watch(subject.network, visit, (nn.Conv2d, nn.BatchNorm2d)):
        subject.network(subject.images)
    ways = {name: response for name, response in found.items() if "shortcut" not in name.split(".")}
    rows: list[Row] = [
        {"layer": name, "depth": depth, "behind": behind, "std": std}
        for depth, (name, (behind, std)) in enumerate(ways.items(), 1)
    ]
    return Found(rows)


def draw(drawn: Sequence[Drawn], options: Options) -> "Canvas":
    """Draw the responses in the order of the layers, and in that of their size, as the paper does."""
    labels = [each.title for each in drawn] if len({each.at for each in drawn}) > 1 else list_labels(drawn)
    canvas, panels = make_panels(2)
    for each in drawn:
        label = each.title if each.title in labels else each.label
        colour, line = choose_look(label, labels)
        depth, std = each.column("depth"), each.column("std")
        panels[0].plot(depth, std, line, color=colour, label=label, linewidth=1.2)
        panels[1].plot(depth, np.sort(std)[::-1], line, color=colour, linewidth=1.2)
    panels[0].set(xlabel="layer", ylabel="standard deviation")
    panels[1].set(xlabel="layers, sorted by it", ylabel="standard deviation")
    panels[0].legend(frameon=False)
    return canvas


PROBE = Probe(
    name="responses",
    title="Layer responses",
    caption="Standard deviations of each convolution's response, behind its BatchNorm and before nonlinearity and "
    "addition (He et al. 2016, Fig. 7); projection shortcuts are left out.",
    options=Options,
    compute=compute,
    draw=draw,
)
