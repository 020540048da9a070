"""Take a few real images to compare two programs on: the given files, or the run's own test images."""

import dataclasses

import torch
from torch import Tensor

from ..data.normalization import compute_affine
from ..errors import UserError
from ..training.reopen import Reopened, assemble_trained
from .network import Predictor
from .sources import find_images

COUNT = 32


def collect_real_images(predictor: Predictor, source: str | None) -> list[Tensor]:
    """Return some images as ``predictor.read`` gives them; raise UserError where none can be read."""
    if source is None:
        return take_test_images(predictor)
    found = []
    with find_images(source) as images:
        for item in images.items:
            try:
                with images.open(item) as path:
                    found.append(predictor.read(path))
            except UserError:
                continue
            if len(found) == COUNT:
                break
    if not found:
        raise UserError(f"images={source}: none of them can be read")
    return found


def take_test_images(predictor: Predictor) -> list[Tensor]:
    """Return the first images of the run's own test as bytes, by undoing their normalisation."""
    config = dataclasses.replace(
        predictor.config, data=dataclasses.replace(predictor.config.data, eval_batch_size=COUNT)
    )
    try:
        data = assemble_trained(Reopened(predictor.path, predictor.checkpoint, config)).data
    except UserError as error:
        raise UserError(
            f"The run's own test images are not here ({error}); type data.root=<their place>, or images=<some photos>"
        ) from None
    images = next(iter(data.eval_loader("test")))[0]
    images = images[:, 0] if images.ndim == 5 else images
    scale, shift = compute_affine(data.normalization, images.shape[-1], torch.device("cpu"))
    flat = images.permute(0, 2, 3, 1).flatten(1)
    pixels = ((flat - shift) / scale).round().clamp(0, 255).byte()
    shape = (len(images), *images.shape[2:], images.shape[1])
    return list(pixels.view(shape).permute(0, 3, 1, 2))
