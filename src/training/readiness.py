"""Find before the first step what training or its final test would stumble over: photos, and batches too small."""

import copy
from itertools import chain

import torch
from torch import nn

from ..config.run import TrainConfig
from ..data.base import DataModule
from ..data.build import find_photo_folders, list_photo_names
from ..data.photos.look import look_at_photos
from ..data.photos.manifest import Photo
from ..errors import UserError
from .assemble import find_counted_part


def record_photos(config: TrainConfig, data: DataModule, known: list[Photo]) -> list[Photo]:
    """Look at each photo that the run will use, test photos too, and return the record of all that the set has.

    ``known`` is a record from before. Raises UserError where a photo cannot be read.
    """
    splits = data.list_photos()
    if not splits:
        return []
    photos = look_at_photos(splits, find_photo_folders(config.data), known)
    used = {photo.name for photo in photos}
    return photos + [Photo("", name) for name in list_photo_names(config.data) or [] if name not in used]


def check_batch_statistics(config: TrainConfig, network: nn.Module, data: DataModule) -> None:
    """Raise UserError where a BatchNorm would meet a single value a channel, which has no variance.

    That takes a single image, in its smallest size, on a map of one pixel. Shapes are enough to see it: nothing is
    computed, and neither statistics nor random state change.
    """
    parts, finetune = config.trainer.world * config.trainer.accumulate, config.finetune
    if config.data.batch_size > parts or finetune.freeze_batchnorm or finetune.name == "head":
        return
    part = find_counted_part(config, network)
    tensors = chain(part.parameters(), part.buffers())
    shapes = copy.deepcopy(part, {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors})
    side = min(data.sides[:-1] or data.sides)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            shapes(torch.empty(1, data.info.channels, side, side, device="meta"))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            f"data.batch_size={config.data.batch_size}: {config.model.name} would compute on a single image of {side} "
            f"pixels at a time, whose last map is one value a channel, too few for a BatchNorm; set "
            f"data.batch_size={2 * parts} at least, or larger images (data.image_size)"
        ) from None
