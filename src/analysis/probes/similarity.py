"""Linear CKA between what the blocks of a network give: Kornblith et al. 2019."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .base import Drawn, Found, Options, Probe, Row, Subject
from .canvas import make_panels
from .layers import list_blocks, watch

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def centre_gram(features: Tensor) -> Tensor:
    """Return the Gram matrix [N, N], in float64, of features [N, …], each centred over the N samples."""
    flat = features.flatten(1)
    flat = flat - flat.mean(dim=0)
    return (flat @ flat.T).double()


def compute_cka(one: Tensor, other: Tensor) -> float:
    """Return the linear CKA of two centred Gram matrices: 1 where the features are equal up to a rotation and scale."""
    product = one.norm() * other.norm()
    return float((one * other).sum() / product) if product > 0 else float("nan")


@torch.no_grad()
def compute(subject: Subject, options: Options, part: str) -> Found:
    """Return the similarity of each two blocks, the stem included."""
    blocks = dict(list_blocks(subject.network, subject.label))
    grams: dict[str, Tensor] = {}

    def visit(name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        if name in blocks:
            grams[name] = centre_gram(y)

    with watch(subject.network, visit):
        subject.network(subject.images)
    rows: list[Row] = []
    for i, (one, first) in enumerate(grams.items()):
        rows += [
            {"block": one, "other": other, "depth": i, "other_depth": j, "cka": compute_cka(first, second)}
            for j, (other, second) in enumerate(grams.items())
        ]
    return Found(rows)


def draw(drawn: Sequence[Drawn], options: Options) -> "Canvas":
    """Draw a square for each network and point of training."""
    canvas, panels = make_panels(len(drawn), width=3.4, height=3.2)
    for panel, each in zip(panels, drawn, strict=True):
        cka = each.column("cka")
        side = round(len(cka) ** 0.5)
        picture = panel.imshow(cka.reshape(side, side), origin="lower", vmin=0, vmax=1, cmap="magma")
        panel.set(title=each.title, xlabel="block", ylabel="block")
        panel.grid(visible=False)
    canvas.colorbar(picture, ax=panels, label="linear CKA", shrink=0.8)
    return canvas


PROBE = Probe(
    name="similarity",
    title="Similarity between depths",
    caption="Linear CKA (Kornblith et al. 2019) between the outputs of each two blocks, the stem first.",
    options=Options,
    compute=compute,
    draw=draw,
)
