"""From a choice of a data set to batches on the training device. Importing this module imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.choices import find_builder
from ..config.data import Cifar10, Cifar100, Coco, DataConfig, Digits, FashionMNIST, Folder, ImageNet
from ..errors import UserError

if TYPE_CHECKING:
    from .base import DataModule
    from .raw import Raw


@dataclass(frozen=True)
class Source:
    """How a plug-in's set is loaded into memory, and what names its content without reading it."""

    load: "Callable[[Any], Raw]"
    content: Callable[[Any], str]


def fingerprint(config: DataConfig) -> str:
    """Return what names the content of the data in a run's identity; no image is read.

    Raises UserError for a folder without the expected layout.
    """
    try:
        return f"{config.name}:{content_of(config)}"
    except OSError as error:  # a folder that may not be entered
        raise UserError(f"data={config.name}: {error}") from error


def content_of(config: DataConfig) -> str:
    """Return the content of a set: a published checksum, or the hash of a listing of its files."""
    match config:
        case Digits():
            from .sets.digits import DIGITS_SHA256

            return DIGITS_SHA256
        case Cifar10():
            from .sets.cifar import CIFAR10

            return CIFAR10.content
        case Cifar100():
            from .sets.cifar import CIFAR100

            return CIFAR100.content
        case FashionMNIST():
            from .sets.fashion_mnist import FASHION_MNIST

            return FASHION_MNIST.content
        case Folder():
            from .photos.listing import scan

            return scan(config.root).content()
        case ImageNet():
            from .photos.listing import listing

            return listing(config.root).content()
        case Coco():
            from .coco import files

            return files.content(config)
    return source_of(config).content(config)


def load_raw(config: DataConfig) -> "Raw":
    """Load a set that lies in memory as a whole. Raises UserError where it is missing or damaged."""
    match config:
        case Digits():
            from .sets import digits

            return digits.load()
        case Cifar10(root=root, download=download):
            from .sets.cifar import CIFAR10

            return CIFAR10.load(root, download)
        case Cifar100(root=root, download=download):
            from .sets.cifar import CIFAR100

            return CIFAR100.load(root, download)
        case FashionMNIST(root=root, download=download):
            from .sets.fashion_mnist import FASHION_MNIST

            return FASHION_MNIST.load(root, download)
        case Folder():
            from .sets import folder

            return folder.load(config.root, config.image_size, config.channels, config.skip_unreadable)
    return source_of(config).load(config)


def source_of(config: DataConfig) -> Source:
    """Return the source that a plug-in has registered for this choice; UserError where there is none."""
    source: Source = find_builder(config)
    return source


def build_data(
    config: DataConfig,
    *,
    target: str | None = None,
    seed: int,
    accumulate: int = 1,
    devices: int = 1,
    normalization: dict[str, Any] | None = None,
) -> "DataModule":
    """Load a data set and choose its classes, sizes and splits; the order of an epoch follows from ``seed``.

    ``target`` says what is learned from: "class", "labels", "boxes" or "masks"; by default the first that the set has.
    ``normalization``: the one stored with the initial weights, which data.normalize=weights uses.
    Raises UserError for everything that is wrong with the data or these settings.
    """
    target = target or config.targets[0]
    if target not in config.targets:
        raise UserError(f"data={config.name} has no {target}, but {', '.join(config.targets)}")
    common: dict[str, Any] = {"seed": seed, "accumulate": accumulate, "devices": devices}
    common["normalization"] = normalization
    match config:
        case Coco() if target == "labels":
            from .coco import multilabel

            return multilabel.build(config, **common)
        case Coco():
            from .coco import detection

            return detection.build(config, masks=target == "masks", **common)
        case ImageNet():
            from .sets import imagenet

            return imagenet.build(config, **common)
    from .resident import module

    return module.build(config, lambda: load_raw(config), **common)
