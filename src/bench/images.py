"""Load CIFAR-10 for the comparisons, or make images of its shape where it is missing."""

from dataclasses import replace

import numpy as np
import torch

from ..config.run import TrainConfig
from ..data.normalization import make_normalization
from ..data.raw import Raw, Split
from ..data.resident.module import ImageData
from ..data.sets.cifar import CIFAR10
from ..data.transforms import find_preset
from ..errors import UserError


def load_cifar(root: str) -> tuple[Raw, str]:
    """Return CIFAR-10, or made images, and a note that says which images these are."""
    try:
        return CIFAR10.load(root, download=False), "real CIFAR-10 images"
    except UserError:
        return make_images(), f"CIFAR-10 is not in data.root={root}, so these are made images of its shape"


def make_images(train: int = 50_000, test: int = 10_000, size: int = 32) -> Raw:
    """Make images of this side that a network can learn to tell apart: a pattern for each class, under noise."""
    random = np.random.RandomState(0)
    patterns = random.randint(256, size=(10, 4, 4, 3)).astype(np.float32)
    patterns = patterns.repeat(size // 4, axis=1).repeat(size // 4, axis=2)

    def make_split(count: int) -> Split:
        labels = random.randint(10, size=count)
        images = np.empty((count, size, size, 3), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:] = (patterns[label] / 2 + random.randint(128, size=image.shape)).astype(np.uint8)
        return Split(images, labels)

    return Raw(replace(CIFAR10.info, image_size=size), make_split(train), make_split(test))


def build_image_data(raw: Raw, config: TrainConfig, *, images: int, val: int) -> ImageData:
    """Build the data module that trains on the first images, and validates on the first of the test, unseen by runs."""
    splits = {"train": raw.train.take(np.arange(images)), "test": raw.test}
    if val:
        splits["val"] = raw.test.take(np.arange(val))
    return ImageData(
        raw.info,
        splits,
        normalization=make_normalization("dataset", raw.info, torch.from_numpy(splits["train"].images)),
        augment=find_preset(config.data.augment),
        seed=config.seed,
        batch_size=config.data.batch_size,
        eval_batch_size=config.data.eval_batch_size,
    )
