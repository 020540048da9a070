"""Start a detector from weights: of a whole detector, torchvision's or ours, or of a classifier's backbone.

The pyramid and the heads are taken where all of them fit, or not at all. Of the layers that tell classes apart the
rows of the wanted classes are taken, by name, where the file has all of them; otherwise these layers alone stay fresh.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from .files import compute_sha256
from .reading import Pretrained
from .weights import check_backbone

# Saved before torchvision's fixed BatchNorm added an epsilon to the variance; by the sha256 in the files' names.
WITHOUT_EPSILON = ("258fb6c6", "bf2d0c1e", "eeacb38b")


EPSILON = 1e-5


COCO = tuple(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])  # by COCO's ids, with the background as 0


# The layers with a part for each class, and how their first axis is divided: before, by class, behind it.
BY_CLASS = {
    "roi_heads.box_predictor.cls_score": (1, -1, 1),
    "roi_heads.box_predictor.bbox_pred": (1, -1, 4),
    "roi_heads.mask_predictor.mask_fcn_logits": (1, -1, 1),
    "head.classification_head.cls_logits": (9, -1, 1),  # anchors of a place
}


def load_detector(model: nn.Module, pretrained: Pretrained, *, path: Path, classes: Sequence[str]) -> str:
    """Copy the weights into the detector ``model``; return a sentence that says which were taken.

    Raises UserError, with the model untouched, for weights of another backbone.
    """
    given = convert_to_detector(pretrained.state, path)
    own = model.state_dict()
    body = {name: value for name, value in own.items() if name.startswith("backbone.body.")}
    check_backbone(body, {name: v for name, v in given.items() if name.startswith("backbone.body.")}, path)
    rest = [name for name in own if name not in body]
    by_class = [name for name in rest if name.rpartition(".")[0] in BY_CLASS]
    shared = [name for name in rest if name not in by_class]
    fits = all(name in given and given[name].shape == own[name].shape for name in shared)
    taken = {name: given[name] for name in [*body, *(shared if fits else ())] if name in given}
    rows = find_class_rows(pretrained.classes, classes, given) if fits else None
    if rows is not None and all(name in given for name in by_class):
        taken |= {name: select_class_rows(given[name], rows, BY_CLASS[name.rpartition(".")[0]]) for name in by_class}
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
    values = sum(value.numel() for value in taken.values()) / 1e6
    report = f"Weights from {path} ({pretrained.naming} naming): {len(taken)} tensors loaded ({values:.1f} M values)"
    if len(taken) > len(body) + len(shared):
        return f"{report}, those of the {len(classes)} classes among them."
    fresh = f"the layers that tell the {len(classes)} classes apart" if fits else "pyramid and heads"
    return f"{report}; fresh: {fresh}."


def convert_to_detector(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors under the names of a detector, and for a BatchNorm that adds an epsilon."""
    if not any(name.startswith("backbone.body.") for name in state):
        given = {name.replace("backbone.", "backbone.body.", 1): value for name, value in state.items()}
        return {name: value for name, value in given.items() if not name.startswith("head.")}
    if not compute_sha256(path).startswith(WITHOUT_EPSILON):
        return dict(state)
    return subtract_epsilon(state)


def subtract_epsilon(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return variances that give the same function in a BatchNorm that adds the epsilon to them."""
    return {name: value - EPSILON if name.endswith("running_var") else value for name, value in state.items()}


def find_class_rows(
    known: Sequence[str] | None, wanted: Sequence[str], given: Mapping[str, Tensor]
) -> list[int] | None:
    """Return the rows of the background and the wanted classes, by name; None where the file lacks one of them."""
    if known is None:
        outputs = {
            len(value) // (BY_CLASS[layer][0] * BY_CLASS[layer][2])
            for layer in BY_CLASS
            if (value := given.get(f"{layer}.bias")) is not None
        }
        names = COCO if outputs == {len(COCO)} else ()
    else:
        names = ("__background__", *known)
    if names[1:] == tuple(wanted):  # also where two classes have one name
        return list(range(len(names)))
    return [0, *map(names.index, wanted)] if names and set(wanted) <= set(names[1:]) else None


def select_class_rows(value: Tensor, rows: Sequence[int], axes: tuple[int, int, int]) -> Tensor:
    """Return the rows of these classes, of a layer whose first axis is divided as ``axes`` say."""
    return value.unflatten(0, axes)[:, list(rows)].flatten(0, 2)
