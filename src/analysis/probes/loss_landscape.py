"""The loss around the weights, along filter-normalised random directions: Li et al. 2018."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ...config.fields import setting
from .base import WHOLE, Drawn, Found, Options, Probe, Row, Subject
from .canvas import choose_look, make_panels, set_log
from .layers import BATCH, estimate_statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

HIGHEST = 50.0  # of the losses that are drawn; beyond, all is one hill


@dataclass(frozen=True)
class Landscape(Options):
    images: int = setting(512, "images whose mean loss it is")
    dims: str = setting("2", "along one direction, or two", choices=("1", "2"))
    grid: int = setting(11, "points of a side")
    span: float = setting(1.0, "how far to go, as a multiple of each filter's norm")
    batchnorm: str = setting(
        "stored", "its statistics: as trained, or estimated anew at each point", choices=("stored", "reestimated")
    )
    direction: int = setting(0, "seed of the directions")

    @property
    def places(self) -> list[float]:
        """The coordinates of a side."""
        return [float(place) for place in np.linspace(-self.span, self.span, self.grid)] if self.grid > 1 else [0.0]


Direction = Mapping[str, Tensor]


def make_direction(network: nn.Module, generator: torch.Generator) -> Direction:
    """Draw a random direction, each filter as long as the network's; biases and BatchNorm's own weights have none."""
    found = {}
    for name, weights in network.named_parameters():
        if weights.ndim < 2:
            continue
        drawn = torch.randn(weights.shape, generator=generator).to(weights.device)
        lengths = drawn.flatten(1).norm(dim=1).clamp(min=1e-10)
        scale = weights.detach().flatten(1).norm(dim=1) / lengths
        found[name] = drawn * scale.view(-1, *[1] * (weights.ndim - 1))
    return found


@contextmanager
def keep_state(network: nn.Module) -> Iterator[None]:
    """Give the network its weights and statistics back, bit for bit, after the block."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        yield
    finally:
        network.load_state_dict(before)


@torch.no_grad()
def measure_loss(subject: Subject) -> float:
    """Return the mean loss over the subject's images."""
    total = 0.0
    for images, labels in zip(subject.images.split(BATCH), subject.labels.split(BATCH), strict=True):
        total += float(subject.loss(images, labels)) * len(images)
    return total / len(subject.images)


@torch.no_grad()
def measure_at(subject: Subject, steps: Sequence[tuple[float, Direction]], *, reestimate: bool) -> float:
    """Return the loss where the weights have gone these steps."""
    with keep_state(subject.network):
        weights = dict(subject.network.named_parameters())
        for length, direction in steps:
            for name, move in direction.items():
                weights[name].add_(move, alpha=length)
        if reestimate:
            estimate_statistics(subject.network, subject.images)
        return measure_loss(subject)


def compute(subject: Subject, options: Landscape, part: str) -> Found:
    """Return the loss at each point of the line, or of one row of the grid."""
    generator = torch.Generator().manual_seed(options.direction)
    one, other = (make_direction(subject.network, generator) for _ in range(2))
    y = options.places[int(part)] if part else 0.0
    rows: list[Row] = []
    for x in options.places:
        loss = measure_at(subject, [(x, one), (y, other)], reestimate=options.batchnorm == "reestimated")
        rows.append({"x": x, "y": y, "loss": loss})
    return Found(rows)


def draw(drawn: Sequence[Drawn], options: Landscape) -> "Canvas":
    """Draw one line a network, or one map of contours, with the same levels in all."""
    return draw_lines(drawn) if options.dims == "1" else draw_maps(drawn)


def draw_lines(drawn: Sequence[Drawn]) -> "Canvas":
    canvas, (panel,) = make_panels(1)
    titles = [each.title for each in drawn]
    for each in drawn:
        colour, line = choose_look(each.title, titles)
        panel.plot(each.column("x"), each.column("loss"), line, color=colour, label=each.title, marker=".")
    panel.set(xlabel="along the direction, in filter norms", ylabel="loss")
    set_log(panel)
    panel.legend(frameon=False)
    return canvas


def draw_maps(drawn: Sequence[Drawn]) -> "Canvas":
    losses = np.concatenate([each.column("loss") for each in drawn])
    finite = losses[np.isfinite(losses) & (losses > 0)]
    low, high = (float(bound) for bound in (finite.min(), min(HIGHEST, finite.max()))) if len(finite) else (0.1, 1.0)
    levels = np.geomspace(low, max(high, low * 1.01), 16)
    canvas, panels = make_panels(len(drawn), width=3.3, height=2.9)
    for panel, each in zip(panels, drawn, strict=True):
        loss = np.nan_to_num(each.column("loss"), nan=levels[-1]).clip(levels[0], levels[-1])
        side = round(len(loss) ** 0.5)
        x, y, z = (values.reshape(side, side) for values in (each.column("x"), each.column("y"), loss))
        filled = panel.contourf(x, y, np.log10(z), levels=np.log10(levels), cmap="viridis", extend="both")
        panel.plot(0, 0, "+", color="white")
        panel.set(title=each.title, aspect="equal")
        panel.grid(visible=False)
    bar = canvas.colorbar(filled, ax=panels, shrink=0.8, label="loss")
    ticks = [tick for tick in (0.01, 0.03, 0.1, 0.3, 1, 2, 3, 5, 10, 20, 50) if levels[0] <= tick <= levels[-1]]
    bar.set_ticks(np.log10(ticks).tolist(), labels=[f"{tick:g}" for tick in ticks])
    return canvas


PROBE = Probe(
    name="loss_landscape",
    title="Loss landscape",
    caption="The mean loss around the weights, along random directions whose filters are as long as the network's own "
    "(Li et al. 2018). Networks of one shape share the directions' random numbers.",
    options=Landscape,
    compute=compute,
    draw=draw,
    parts=lambda options: WHOLE if options.dims == "1" else [str(row) for row in range(options.grid)],
    suffix=lambda options: "_1d" if options.dims == "1" else "",
)
