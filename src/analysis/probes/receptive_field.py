"""The effective receptive field: which pixels the centre of a map really depends on (Luo et al. 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...config.fields import setting
from ...models.backbone import get_backbone
from .base import Drawn, Found, Options, Probe, Row, Subject
from .canvas import make_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

EFFECTIVE = 1 - 0.9545  # of the largest value: within two standard deviations, as the paper counts


@dataclass(frozen=True)
class ReceptiveField(Options):
    images: int = setting(64, "images over which the gradient's size is averaged")


def compute(subject: Subject, options: ReceptiveField, part: str) -> Found:
    """Return the side of the field of each stage's map, of its centre, and the field itself.

    The size of an input pixel's gradient is averaged over images and summed over channels. ``side`` is the root of the
    number of pixels above the threshold, ``reached`` that of those that have any gradient.
    """
    backbone = get_backbone(subject.network, subject.label)
    images = subject.images.clone().requires_grad_()
    maps = backbone.forward_features(images)
    rows: list[Row] = []
    fields = []
    for stage, features in enumerate(maps, 1):
        centre = features[:, :, features.shape[2] // 2, features.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(centre, images, retain_graph=stage < len(maps))
        field = gradient.abs().sum(dim=1).mean(dim=0)
        effective, reached = (float((field > bound).sum()) ** 0.5 for bound in (EFFECTIVE * float(field.max()), 0.0))
        rows.append({"stage": stage, "map": features.shape[-1], "side": effective, "reached": reached})
        fields.append(field.cpu().numpy())
    return Found(rows, {"fields": np.stack(fields)})


def draw(drawn: Sequence[Drawn], options: ReceptiveField) -> "Canvas":
    """Draw a row of fields for each network, a column for each stage."""
    most = max(len(each.found.rows) for each in drawn)
    canvas, panels = make_panels(most * len(drawn), columns=most, width=1.9, height=2.1)
    for panel in panels:
        panel.set_axis_off()
    for i, each in enumerate(drawn):
        for j, (field, row) in enumerate(zip(each.found.arrays["fields"], each.found.rows, strict=True)):
            panel = panels[i * most + j]
            panel.imshow((field / max(field.max(), 1e-30)) ** 0.5, cmap="magma", vmin=0, vmax=1)
            side = row["side"]
            assert isinstance(side, float)
            panel.set_title(f"{each.title}\n" * (j == 0) + f"stage {row['stage']}: {side:.1f} pixels", fontsize=7)
    return canvas


PROBE = Probe(
    name="receptive_field",
    title="Effective receptive field",
    caption="The size of the gradient of the centre of each stage's map at the pixels of the image (Luo et al. 2016), "
    "its root drawn; the number is the side of the area above 4.55 % of the largest value.",
    options=ReceptiveField,
    compute=compute,
    draw=draw,
)
