"""Change a data set as the user chooses: its classes, its image size, its channels."""

import difflib
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import interpolate

from ..errors import UserError
from .raw import Raw, Split


def select_classes(raw: Raw, wanted: list[str]) -> Raw:
    """Keep only the wanted classes, given by name or number, and renumber them in this order.

    Raises UserError for a class that is unknown or is named twice.
    """
    classes = raw.info.classes
    chosen = [_find_class(str(name), classes) for name in wanted]
    if len(set(chosen)) < len(chosen):
        raise UserError(f"data.classes={','.join(map(str, wanted))}: a class is named twice")
    number = np.full(len(classes), -1, dtype=np.int64)
    number[chosen] = np.arange(len(chosen))

    def keep(split: Split) -> Split:
        labels = number[split.labels]
        return replace(split, labels=labels).take(np.flatnonzero(labels >= 0))

    info = replace(raw.info, classes=tuple(classes[k] for k in chosen))
    return Raw(info, keep(raw.train), keep(raw.test), None if raw.val is None else keep(raw.val))


def _find_class(name: str, classes: tuple[str, ...]) -> int:
    if name in classes:
        return classes.index(name)
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    near = difflib.get_close_matches(name, classes, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"they begin with {', '.join(classes[:10])}"
    raise UserError(f"data.classes: {name!r} is none of the {len(classes)} classes; {hint}")


def resize_images(split: Split, size: int) -> Split:
    """Resize the images of a split to squares of ``size`` pixels, by antialiased bilinear interpolation."""
    if split.images.shape[1] == size:
        return split
    images = torch.from_numpy(split.images).permute(0, 3, 1, 2)
    parts = images.split(4096)  # bounds the memory of the intermediate results
    scaled = [interpolate(part, (size, size), mode="bilinear", antialias=True) for part in parts]
    return replace(split, images=torch.cat(scaled).permute(0, 2, 3, 1).contiguous().numpy())


def convert_channels(split: Split, channels: int) -> Split:
    """Convert the images of a split to 3 equal channels from 1, or to the luma of ITU-R 601 from 3."""
    have = split.images.shape[3]
    if have == channels:
        return split
    if channels == 3:
        return replace(split, images=np.repeat(split.images, 3, axis=3))
    images = np.empty((*split.images.shape[:3], 1), dtype=np.uint8)
    for k in range(0, len(images), 4096):
        luma = split.images[k : k + 4096] @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        images[k : k + 4096, ..., 0] = luma.round()
    return replace(split, images=images)
