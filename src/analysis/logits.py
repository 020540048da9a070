"""Ask a trained run for its logits and for the pictures that it sees, split by split."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..data.base import DataModule
from ..data.photos.module import StreamedImages
from ..data.resident.module import ImageData
from ..errors import UserError
from ..tasks.base import use_full_precision
from ..tasks.classification import compute_scores
from ..tasks.table import has_single_class
from ..training.assemble import Assembly

AT_ONCE = 500  # pictures that are read together


class Answers(NamedTuple):
    """What a network says of a split: logits float64 [N, K] and labels int64 [N], on the CPU, in the split's order."""

    logits: Tensor
    labels: Tensor


def check_single_class(assembly: Assembly, command: str) -> None:
    """Raise UserError where the images of a run have not one class each."""
    if not has_single_class(assembly.config.task.name):
        raise UserError(
            f"task={assembly.config.task.name}: {command} is for runs whose images have one class each (multiclass)"
        )


def find_device(assembly: Assembly) -> torch.device:
    """Return the device that the run's settings name for this machine."""
    return torch.device("cuda" if assembly.config.trainer.accelerator in ("gpu", "cuda") else "cpu")


def compute_answers(assembly: Assembly, split: str, *, words: str = "") -> Answers:
    """Compute the logits of a split in fp32, as the run's own test does."""
    device = find_device(assembly)
    network = assembly.network.to(device).eval()
    loader = assembly.data.eval_loader(split, device)
    logits, labels = [], []
    with torch.inference_mode(), use_full_precision(device):
        for images, truth, _ in tqdm(loader, words or split, disable=None, delay=2, leave=False):
            logits.append(compute_scores(network, images).double().cpu())
            labels.append(truth.cpu())
    return Answers(torch.cat(logits), torch.cat(labels))


def iterate_pictures(data: DataModule, split: str, numbers: np.ndarray | None = None) -> Iterator[Tensor]:
    """Yield the pictures of a split as the network sees them, uint8 [B, S, S, C], by their numbers or all of them."""
    count = data.sizes[split]
    wanted = np.arange(count) if numbers is None else np.asarray(numbers)
    if isinstance(data, ImageData):
        images, _ = data.resident(split, "cpu")
        margin = data.padding if split == "train" else 0
        for start in range(0, len(wanted), AT_ONCE):
            part = images[torch.from_numpy(wanted[start : start + AT_ONCE])]
            yield part[:, margin : part.shape[1] - margin, margin : part.shape[2] - margin]
    elif isinstance(data, StreamedImages):
        read = data.eval_loader(split, ten_crop=False).read
        for start in range(0, len(wanted), AT_ONCE):
            yield read(wanted[start : start + AT_ONCE]).images
    else:
        raise UserError("the pictures of such a data set differ in size; a set with one class an image is needed")


def collect_pictures(data: DataModule, split: str, numbers: np.ndarray | None = None) -> Tensor:
    """Return pictures of a split in one tensor, uint8 [N, S, S, C]."""
    parts = list(iterate_pictures(data, split, numbers))
    side = data.info.image_size
    return torch.cat(parts) if parts else torch.empty((0, side, side, data.info.channels), dtype=torch.uint8)


def list_labels(data: DataModule, split: str) -> Tensor:
    """Return the labels of a split, int64 [N], without reading an image."""
    if isinstance(data, ImageData):
        return data.resident(split, "cpu")[1]
    assert isinstance(data, StreamedImages)
    return torch.from_numpy(data.splits[split].labels)


def name_pictures(data: DataModule, split: str, numbers: np.ndarray) -> list[str]:
    """Name pictures of a split: by the path of the file, or as test/123 in a set that is published as a whole."""
    files = data.list_photos().get(split)
    return [files.paths[k] if files else f"{split}/{k}" for k in numbers.tolist()]
