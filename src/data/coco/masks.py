"""Masks as COCO stores them: polygons and run-length encodings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from faster_coco_eval.core import mask as rle
from torch import Tensor


def encode_masks(masks: Tensor) -> list[dict[str, Any]]:
    """Masks bool [N, H, W] as COCO's compressed RLE, as JSON can hold it."""
    packed = rle.encode(np.asfortranarray(masks.byte().permute(1, 2, 0).cpu().numpy()))
    return [{"size": list(map(int, one["size"])), "counts": one["counts"].decode()} for one in packed]


def decode_masks(segmentations: Sequence[Any], height: int, width: int) -> Tensor:
    """Polygons or RLE, as ``select_segmentation`` gives them, as masks uint8 [N, H, W]."""
    if not segmentations:
        return torch.zeros(0, height, width, dtype=torch.uint8)
    packed = [compress_mask(segmentation, height, width) for segmentation in segmentations]
    return torch.from_numpy(rle.decode(packed)).permute(2, 0, 1).contiguous()


def compress_mask(segmentation: Any, height: int, width: int) -> Any:
    """Polygons or any RLE as compressed RLE."""
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return rle.frPyObjects(segmentation, height, width)
    return segmentation
