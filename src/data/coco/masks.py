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


def decode_runs(counts: object) -> list[int] | None:
    """Return the run lengths that the counts of an RLE, packed in a text or not, stand for; None for damaged ones.

    The decoders of pycocotools and faster-coco-eval trust what they get.
    """
    if isinstance(counts, list):
        return counts if all(type(run) is int and 0 <= run < 2**32 for run in counts) else None
    if not isinstance(counts, str) or not counts.isascii():
        return None
    signs = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - 48  # six bits: one says that more follow
    last = (signs & 32) == 0
    if not signs.size or signs.min() < 0 or signs.max() > 63 or not last[-1]:
        return None
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        return None
    places = 5 * (np.arange(signs.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((signs & 31) << places, starts)
    runs -= np.where(signs[ends] & 16, 1 << 5 * lengths, 0)
    runs[1::2] = runs[1::2].cumsum()  # from the fourth on, differences to the last but one
    runs[2::2] = runs[2::2].cumsum()
    return runs.tolist() if runs.min() >= 0 else None
