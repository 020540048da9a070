"""The data sets by name: a ``DatasetInfo``, a constructor, a line in ``SETS``, conf/data/<name>.yaml."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ...config.data import DataConfig
from ...errors import UserError
from ...text import unknown
from ..cut import cut
from ..info import DIGITS
from ..raw import Raw, Split
from . import official

DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


@dataclass(frozen=True)
class Source:
    """What names a set's content without reading it, and by task the module whose ``build`` makes its data module.

    ``load`` is for the sets that lie in memory as a whole.
    """

    content: Callable[[DataConfig], str]
    builders: Mapping[str, str]
    load: Callable[[DataConfig], Raw] | None = None


def source(name: str) -> Source:
    """The source of this name; an unknown one raises UserError with the list."""
    if name not in SETS:
        raise UserError(unknown("data", name, SETS))
    return SETS[name]


def load_digits(config: DataConfig) -> Raw:
    """scikit-learn's 1,797 handwritten digits, 8x8, 0..16 scaled to 0..255; a fixed 360 are the test set."""
    from sklearn import datasets

    digits = datasets.load_digits()
    pixels, labels = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    found = hashlib.sha256(pixels.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    if found != DIGITS_SHA256:
        raise UserError(f"data=digits: this scikit-learn brings other digits (sha256 {found}); reinstall it")
    images = np.rint(pixels[..., None] * (255 / 16)).astype(np.uint8)
    train, test = cut(labels, 360 / 1797, seed=0)
    whole = Split(images, labels)
    return Raw(DIGITS, whole.take(train), whole.take(test))


def load_folder(config: DataConfig) -> Raw:
    """Images in folders; see src/data/sets/folder.py."""
    from . import folder

    return folder.load(config.root, config.image_size, config.channels, config.skip_unreadable)


def folder_content(config: DataConfig) -> str:
    """The hash of the list of images; see src/data/sets/folder.py."""
    from . import folder

    try:
        return folder.content(config.root)
    except OSError as error:  # a folder that may not be entered
        raise UserError(f"data=folder: {error}") from error


def imagenet_content(config: DataConfig) -> str:
    """The hash of the list of photos; see src/data/photos/listing.py."""
    from ..photos.listing import listing

    try:
        return listing(config.root).content()
    except OSError as error:
        raise UserError(f"data=imagenet: {error}") from error


def coco_content(config: DataConfig) -> str:
    """The hash of the annotations; see src/data/coco/files.py."""
    from ..coco import files as coco_files

    return coco_files.content(config)


RESIDENT = {"multiclass": "src.data.resident.module"}


def published(which: official.Official) -> Source:
    return Source(lambda config: which.content, RESIDENT, load=lambda config: which.load(config.root, config.download))


SETS = {
    "digits": Source(lambda config: DIGITS_SHA256, RESIDENT, load=load_digits),
    "cifar10": published(official.CIFAR10),
    "cifar100": published(official.CIFAR100),
    "fashion_mnist": published(official.FASHION_MNIST),
    "folder": Source(folder_content, RESIDENT, load=load_folder),
    "imagenet": Source(imagenet_content, {"multiclass": "src.data.sets.imagenet"}),
    "coco": Source(
        coco_content,
        {
            "multilabel": "src.data.coco.multilabel",
            "detection": "src.data.coco.detection",
            "instance_segmentation": "src.data.coco.detection",
        },
    ),
}
