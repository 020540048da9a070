"""Crop with padding, flip and normalise a sample at a time in a DataLoader, as torchvision's users do it."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from . import template


class Tensors(Dataset[template.Sample]):
    """Samples that are tensors uint8 [3, H, W] already, so that nothing is converted from or to PIL."""

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], transform: Callable[[Tensor], Tensor]
    ) -> None:
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> template.Sample:
        return self.transform(self.images[i]), self.labels[i]


def make_pil_loader(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    workers: int,
) -> DataLoader[template.Sample]:
    """Make a loader of batches of 128 through PIL."""
    dataset = template.Images(images, labels, template.make_train_transform(mean, std))
    return template.make_loader(dataset, batch_size=128, train=True, workers=workers)


def make_tensor_loader(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    workers: int,
) -> DataLoader[template.Sample]:
    """Make a loader of batches of 128 transformed tensors; bytes become floats just before the normalisation."""
    steps = [
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ConvertImageDtype(torch.float32),
        transforms.Normalize(mean, std),
    ]
    dataset = Tensors(images, labels, transforms.Compose(steps))
    return template.make_loader(dataset, batch_size=128, train=True, workers=workers)
