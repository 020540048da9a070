"""The largest eigenvalue of the loss's Hessian, by power iteration on Hessian-vector products."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...config.fields import setting
from .base import Drawn, Found, Options, Probe, Subject
from .canvas import choose_look, list_labels, make_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Vectors = list[Tensor]  # one for each of the parameters


@dataclass(frozen=True)
class Curvature(Options):
    images: int = setting(128, "images whose mean loss it is")
    steps: int = setting(30, "iterations at most, for each of at most two power iterations")
    tolerance: float = setting(1e-3, "stop where an iteration changes the eigenvalue by a smaller fraction")


@dataclass(frozen=True)
class Eigenvalue:
    """An eigenvalue, after how many iterations, and the fraction by which the last of them changed it."""

    value: float
    steps: int
    change: float


def dot(one: Vectors, other: Vectors) -> float:
    """Return the inner product over all parameters, summed in float64."""
    return float(sum((a.double() * b.double()).sum() for a, b in zip(one, other, strict=True)))


def iterate(multiply: Callable[[Vectors], Vectors], start: Vectors, *, steps: int, tolerance: float) -> Eigenvalue:
    """Return the eigenvalue of largest size of a symmetric map, from the quotients of Rayleigh."""
    vector, value, change = start, 0.0, float("inf")
    for step in range(1, steps + 1):
        norm = dot(vector, vector) ** 0.5
        if norm == 0:
            return Eigenvalue(0.0, step, 0.0)
        vector = [part / norm for part in vector]
        product = multiply(vector)
        before, value = value, dot(vector, product)
        change = abs(value - before) / max(abs(value), 1e-30)
        if change < tolerance:
            break
        vector = product
    return Eigenvalue(value, step, change)


def find_largest(loss: Tensor, parameters: Vectors, *, steps: int, tolerance: float) -> tuple[Eigenvalue, Eigenvalue]:
    """Return the Hessian's eigenvalue of largest size, and its largest one, which differ where that is negative."""
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)

    def multiply(vector: Vectors) -> Vectors:
        products = torch.autograd.grad(gradients, parameters, vector, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(p) if h is None else h for p, h in zip(parameters, products, strict=True)]

    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device) for p in parameters]
    extreme = iterate(multiply, start, steps=steps, tolerance=tolerance)
    if extreme.value >= 0:
        return extreme, extreme

    def shift(vector: Vectors) -> Vectors:  # by the smallest eigenvalue, so that none is negative
        return [h - extreme.value * v for h, v in zip(multiply(vector), vector, strict=True)]

    shifted = iterate(shift, start, steps=steps, tolerance=tolerance)
    return extreme, Eigenvalue(shifted.value + extreme.value, shifted.steps, shifted.change)


def compute(subject: Subject, options: Curvature, part: str) -> Found:
    """Return both eigenvalues, and how far they have converged."""
    loss = subject.loss(subject.images, subject.labels)
    parameters: Vectors = list(subject.network.parameters())
    extreme, largest = find_largest(loss, parameters, steps=options.steps, tolerance=options.tolerance)
    row = {"loss": float(loss.detach()), "largest": largest.value, "steps": largest.steps, "change": largest.change}
    return Found([row | {"extreme": extreme.value, "extreme_steps": extreme.steps}])


def draw(drawn: Sequence[Drawn], options: Curvature) -> "Canvas":
    """Draw a bar for each network and point of training."""
    labels = list_labels(drawn)
    canvas, (panel,) = make_panels(1, height=1.0 + 0.32 * len(drawn))
    values = [each.column("largest")[0] for each in drawn]
    panel.barh(range(len(drawn)), values, color=[choose_look(each.label, labels)[0] for each in drawn], height=0.65)
    panel.set_yticks(range(len(drawn)), [each.title for each in drawn])
    panel.invert_yaxis()
    panel.set(xlabel="largest eigenvalue of the Hessian")
    return canvas


PROBE = Probe(
    name="curvature",
    title="Sharpness",
    caption="The largest eigenvalue of the Hessian of the mean loss over all parameters, by power iteration; "
    "BatchNorm keeps its statistics.",
    options=Curvature,
    compute=compute,
    draw=draw,
)
