"""Where a network looks: Grad-CAM (Selvaraju et al. 2017) on its last map, for images it gets right and wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config.fields import setting
from ...data.info import Normalization
from ...models.backbone import get_backbone
from .base import Drawn, Found, NotApplicableError, Options, Probe, Row, Subject
from .canvas import make_panels
from .layers import watch

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


CELLS = 3  # of an image: itself, and what speaks for the predicted and for the true class


@dataclass(frozen=True)
class GradCam(Options):
    split: str = setting("test", "which images", choices=("train", "val", "test"))
    each: int = setting(6, "pictures of each kind: right ones, and wrong ones")


def compute_heat(network: nn.Module, backbone: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Return the heat [N, H, W], in [0, 1], of an image's class: relu(Σ α A) on the last map A, as large as the image.

    α is the mean over places of the gradient of the class's logit, for each channel.
    """
    maps: list[Tensor] = []
    with watch(backbone, lambda name, module, x, y: maps.append(y) if name == "" else None):
        logits = network(images)
    chosen = logits.gather(1, classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, maps[-1])
    heat = F.relu((gradient.mean(dim=(2, 3), keepdim=True) * maps[-1]).sum(dim=1, keepdim=True)).detach()
    heat = F.interpolate(heat, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)


def restore_pixels(images: Tensor, normalization: Normalization) -> Tensor:
    """Return normalised images [N, C, H, W] as pixels [N, H, W, C] in [0, 1]."""
    shown = images.permute(0, 2, 3, 1)
    shown = shown * torch.tensor(normalization["std"], device=images.device)
    if (mean_image := normalization["mean_image"]) is not None:
        return (shown + mean_image.to(images.device)).clamp(0, 1)
    return (shown + torch.tensor(normalization["mean"], device=images.device)).clamp(0, 1)


def compute(subject: Subject, options: GradCam, part: str) -> Found:
    """Return the first images that are right and that are wrong, with the heat of the predicted and of the true class.

    The images are in random order, so nobody has chosen them.
    """
    if not subject.single_class:
        raise NotApplicableError(f"{subject.label}: its images have several classes, so none is right or wrong")
    with torch.no_grad():
        confidence, predicted = subject.network(subject.images).softmax(dim=1).max(dim=1)
    right = predicted == subject.labels
    shown = torch.cat([kind.nonzero()[: options.each, 0] for kind in (right, ~right)])
    images, labels, chosen = subject.images[shown], subject.labels[shown], predicted[shown]
    backbone = cast(nn.Module, get_backbone(subject.network, subject.label))
    heats = [compute_heat(subject.network, backbone, images, classes) for classes in (chosen, labels)]
    rows: list[Row] = []
    for i, (label, prediction) in enumerate(zip(labels.tolist(), chosen.tolist(), strict=True)):
        rows.append(
            {
                "image": i,
                "true": subject.classes[label],
                "predicted": subject.classes[prediction],
                "confidence": float(confidence[shown][i]),
                "kind": "right" if label == prediction else "wrong",
            }
        )
    arrays = {"images": restore_pixels(images, subject.normalization), "predicted": heats[0], "true": heats[1]}
    return Found(rows, {name: array.cpu().numpy() for name, array in arrays.items()})


def draw(drawn: Sequence[Drawn], options: GradCam) -> "Canvas":
    """Draw the contact sheet: the image, and over it the heat of the predicted class; where wrong, of the true one."""
    count = sum(len(each.found.rows) for each in drawn)
    canvas, panels = make_panels(max(1, count) * CELLS, columns=2 * CELLS, width=1.5, height=1.8)
    for panel in panels:
        panel.set_axis_off()
    cells = [(each, i) for each in drawn for i in range(len(each.found.rows))]
    for place, (each, i) in enumerate(cells):
        row, image = each.found.rows[i], each.found.arrays["images"][i]
        image = image.repeat(3, -1) if image.shape[-1] == 1 else image
        sure = f"{row['predicted']}, {100 * cast(float, row['confidence']):.0f} %"
        texts = [f"{each.label}: {row['kind']}\nis {row['true']}", f"predicted:\n{sure}", f"true:\n{row['true']}"]
        for j, text in enumerate(texts[: 3 if row["kind"] == "wrong" else 2]):
            panel = panels[place * CELLS + j]
            panel.imshow(image)
            if j:
                panel.imshow(each.found.arrays["predicted" if j == 1 else "true"][i], cmap="jet", alpha=0.45)
            panel.set_title(text, fontsize=6.5)
    return canvas


PROBE = Probe(
    name="grad_cam",
    title="Grad-CAM",
    caption="Which places speak for a class (Selvaraju et al. 2017), on the last map: the first images of a random "
    "order that the network gets right, and wrong.",
    options=GradCam,
    compute=compute,
    draw=draw,
)
