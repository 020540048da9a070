"""Encode and decode masks as COCO stores them: as polygons and as run-length encodings."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from faster_coco_eval.core import mask as rle
from torch import Tensor

from ...files import Json

Segmentation: TypeAlias = list[list[float]] | Json  # polygons, or a run-length encoding


def encode_masks(masks: Tensor) -> list[Json]:
    """Encode masks bool [N, H, W] as COCO's compressed RLE, in values that JSON can hold."""
    packed = rle.encode(np.asfortranarray(masks.byte().permute(1, 2, 0).cpu().numpy()))
    return [{"size": list(map(int, one["size"])), "counts": one["counts"].decode()} for one in packed]


def decode_masks(segmentations: Sequence[Segmentation], height: int, width: int) -> Tensor:
    """Decode polygons or RLE, as ``select_segmentation`` returns them, to masks uint8 [N, H, W]."""
    if not segmentations:
        return torch.zeros(0, height, width, dtype=torch.uint8)
    packed = [compress_mask(segmentation, height, width) for segmentation in segmentations]
    return torch.from_numpy(rle.decode(packed)).permute(2, 0, 1).contiguous()


def compress_mask(segmentation: Segmentation, height: int, width: int) -> Json:
    """Convert polygons, or any RLE, to compressed RLE."""
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return rle.frPyObjects(segmentation, height, width)
    return segmentation
