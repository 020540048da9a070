"""The filters of the first convolution, as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...config.fields import setting
from .base import Drawn, Found, NotApplicableError, Options, Probe, Subject
from .canvas import make_panels
from .layers import list_layers

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure as Canvas
    from numpy.typing import NDArray

ACROSS = 8


@dataclass(frozen=True)
class Filters(Options):
    images: int = setting(1, "one image, to find the first layer")


def compute(subject: Subject, options: Filters, part: str) -> Found:
    """Return the weights of the first convolution [outputs, inputs, h, w], and the norm of each filter."""
    first = next((layer for layer in list_layers(subject) if layer.kind == "conv"), None)
    if first is None:
        raise NotApplicableError(f"{subject.label}: has no convolution")
    weights = first.module.weight.detach().cpu()
    norms = weights.flatten(1).norm(dim=1).tolist()
    return Found(
        [{"layer": first.name, "filter": i, "norm": norm} for i, norm in enumerate(norms)], {"weights": weights.numpy()}
    )


def draw(drawn: Sequence[Drawn], options: Filters) -> "Canvas":
    """Draw the filters of each network as tiles, in colour where they see three channels."""
    canvas, panels = make_panels(len(drawn), width=3.6, height=2.4)
    for panel, each in zip(panels, drawn, strict=True):
        panel.imshow(lay_tiles(each.found.arrays["weights"]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        panel.set_title(each.title)
        panel.set_axis_off()
    return canvas


def lay_tiles(weights: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Lay filters [N, C, h, w] out as one picture in [0, 1], each scaled by its own largest weight."""
    import numpy as np

    scaled = 0.5 + weights / (2 * np.abs(weights).max(axis=(1, 2, 3), keepdims=True).clip(1e-30))
    tiles = scaled.transpose(0, 2, 3, 1) if weights.shape[1] == 3 else scaled.mean(axis=1)[..., None].repeat(3, -1)
    tiles = np.pad(tiles, ((0, -len(tiles) % ACROSS), (0, 1), (0, 1), (0, 0)), constant_values=0.5)
    rows = [np.concatenate(list(tiles[i : i + ACROSS]), axis=1) for i in range(0, len(tiles), ACROSS)]
    return np.concatenate(rows, axis=0)[:-1, :-1]


PROBE = Probe(
    name="filters",
    title="First filters",
    caption="The filters of the first convolution, each scaled by its own largest weight; grey is zero.",
    options=Filters,
    compute=compute,
    draw=draw,
)
