"""The norm of the loss's gradient at each layer: whether it reaches the first ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...config.fields import setting
from .base import Drawn, Found, Options, Probe, Row, Subject, describe_point
from .canvas import choose_look, group_points, list_labels, make_panels, set_log
from .layers import list_layers, use_batch_statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class GradientFlow(Options):
    images: int = setting(128, "images of the one batch whose loss it is")


def compute(subject: Subject, options: GradientFlow, part: str) -> Found:
    """Return the gradient's norm at the weights of each layer, and the weights' own."""
    layers = list_layers(subject)
    with use_batch_statistics(subject.network):
        loss = subject.loss(subject.images, subject.labels)
        gradients = torch.autograd.grad(loss, [layer.module.weight for layer in layers])
    rows: list[Row] = []
    for layer, gradient in zip(layers, gradients, strict=True):
        norm, weight = float(gradient.norm()), float(layer.module.weight.detach().norm())
        rows.append(
            {
                "layer": layer.name,
                "kind": layer.kind,
                "depth": layer.depth,
                "gradient": norm,
                "weight": weight,
                "ratio": norm / max(weight, 1e-30),
            }
        )
    return Found(rows)


def draw(drawn: Sequence[Drawn], options: GradientFlow) -> "Canvas":
    """Draw a panel for each point of training, and a line for each network."""
    groups, labels = group_points(drawn), list_labels(drawn)
    canvas, panels = make_panels(len(groups), sharey=True)
    for panel, several in zip(panels, groups.values(), strict=True):
        for each in several:
            colour, line = choose_look(each.label, labels)
            depth, norm = each.column("depth"), each.column("gradient")
            panel.plot(depth[depth > 0], norm[depth > 0], line, color=colour, label=each.label, linewidth=1.2)
        panel.set(title=describe_point(several[0].at), xlabel="layer", ylabel="norm of the gradient")
        set_log(panel)
        panel.legend(frameon=False)
    return canvas


PROBE = Probe(
    name="gradient_flow",
    title="Gradient flow",
    caption="The norm of the loss's gradient at the weights of each layer, the first on the left, for one batch with "
    "BatchNorm as in training; projection shortcuts are left out.",
    options=GradientFlow,
    compute=compute,
    draw=draw,
)
