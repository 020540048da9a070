"""Read an image file as a run's own test reads its images, without the data of that run.

Each kind of data has its own way: small images are cut to a square and scaled (src/data/resident), photos are resized
by their shorter side and cropped, or squeezed into a square (src/data/photos), and detectors take photos as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..config.data import Cifar10, Cifar100, Coco, DataConfig, Digits, FashionMNIST, Folder, ImageNet
from ..config.task import FindsObjects, TaskConfig
from ..data.adapt import convert_channels, resize_images
from ..data.coco.detection import IMAGE_SIZE as SHORTER_SIDE
from ..data.info import DatasetInfo
from ..data.photos.augment import EvalTransform
from ..data.photos.reader import make_error, read_photo
from ..data.photos.sizes import choose_sides
from ..data.raw import Split
from ..data.sets.cifar import CIFAR10, CIFAR100
from ..data.sets.digits import DIGITS
from ..data.sets.fashion_mnist import FASHION_MNIST
from ..data.sets.folder import IMAGE_SIZE as FOLDER_SIZE
from ..data.sets.folder import decode_image
from ..data.transforms import find_photo_preset
from ..errors import UserError

ReadImage: TypeAlias = Callable[[Path], Tensor]  # uint8 [C, S, S], of ten crops [10, C, S, S], of a detector [C, H, W]


@dataclass(frozen=True)
class SmallImage:
    """Cut a square from the centre, at the side and channels of the set, and change both as the run does."""

    native_side: int
    native_channels: int
    side: int
    channels: int

    def __call__(self, path: Path) -> Tensor:
        try:
            image = decode_image(path, self.native_side, self.native_channels)
        except Exception as error:
            raise make_error(path, error) from error
        split = Split(np.array(image)[None], np.zeros(1, dtype=np.int64))
        pixels = convert_channels(resize_images(split, self.side), self.channels).images[0]
        return torch.from_numpy(pixels).permute(2, 0, 1)


class Photo:
    """Resize the shorter side and cut the centre; where ``resize`` is None, squeeze the photo into a square."""

    def __init__(self, *, resize: int | None, side: int, channels: int, ten_crop: bool = False) -> None:
        self.transform = EvalTransform(resize=resize, size=side, ten_crop=ten_crop)
        self.side, self.channels = side, channels

    def __call__(self, path: Path) -> Tensor:
        return self.transform(read_photo(path, self.channels))[0]


class WholePhoto:
    """Read a photo as it is, in colour; a detector resizes it itself."""

    def __call__(self, path: Path) -> Tensor:
        return read_photo(path, 3)


def choose_reader(data: DataConfig, task: TaskConfig, *, side: int, channels: int) -> ReadImage:
    """Return how an image file is read for a network that sees images of this side and number of channels."""
    if isinstance(task, FindsObjects):
        return WholePhoto()
    match data:
        case ImageNet():
            preset = find_photo_preset(data.augment)
            resize = None if preset.square else round(side * preset.resize)
            return Photo(resize=resize, side=side, channels=channels, ten_crop=data.ten_crop)
        case Coco():
            return Photo(resize=None, side=side, channels=channels)
    facts = find_published_facts(data)
    if facts is None:
        return SmallImage(side, channels, side, channels)
    return SmallImage(facts.image_size, facts.channels, side, channels)


def choose_side(data: DataConfig, task: TaskConfig, stored: object) -> int:
    """Return the side of the images that the run's own test sees [pixels]; of detectors, the shorter one's.

    ``stored`` is what the checkpoint says, which is used for a plug-in's set alone: a setting typed now comes first.
    Raises UserError where neither says anything.
    """
    if isinstance(data, Coco) and isinstance(task, FindsObjects):
        return data.test_size or data.image_size or max(data.train_sizes, default=SHORTER_SIDE)
    if isinstance(data, ImageNet | Coco):
        return choose_sides(data, find_photo_preset(data.augment))[1]
    if data.image_size:
        return data.image_size
    if isinstance(data, Folder):
        return FOLDER_SIZE
    facts = find_published_facts(data)
    side = facts.image_size if facts else stored
    if not isinstance(side, int) or side < 1:
        raise UserError(f"data={data.name}: the checkpoint does not say the size of its images; type data.image_size=…")
    return side


def find_published_facts(data: DataConfig) -> DatasetInfo | None:
    """Return the facts of a set that is published as a whole, which need none of its files; None for another set."""
    match data:
        case Digits():
            return DIGITS
        case Cifar10():
            return CIFAR10.info
        case Cifar100():
            return CIFAR100.info
        case FashionMNIST():
            return FASHION_MNIST.info
    return None
