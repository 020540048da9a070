"""Build the data module that a choice of a data set stands for. Importing this module imports no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar

from ..config.choices import find_builder
from ..config.data import Cifar10, Cifar100, Coco, DataConfig, Digits, FashionMNIST, Folder, ImageNet
from ..errors import UserError

if TYPE_CHECKING:
    from .base import DataModule
    from .info import Normalization
    from .photos.manifest import Photo
    from .raw import Raw


C = TypeVar("C", bound=DataConfig)


@dataclass(frozen=True)
class Source(Generic[C]):
    """Load a plug-in's set into memory by ``load``, and identify its content by ``content`` without reading it."""

    load: "Callable[[C], Raw]"
    content: Callable[[C], str]


class BuildSettings(TypedDict):
    """Name the keyword arguments that every room's builder takes."""

    seed: int
    accumulate: int
    devices: int
    normalization: "Normalization | None"


def fingerprint(config: DataConfig) -> str:
    """Return the string that stands for the content of the data in a run's identity; no image is read.

    Raises UserError for a folder without the expected layout.
    """
    try:
        return f"{config.name}:{identify_content(config)}"
    except OSError as error:  # a folder that may not be entered
        raise UserError(f"data={config.name}: {error}") from error


def identify_content(config: DataConfig) -> str:
    """Return the published checksum of a set, or the hash of a listing of its files."""
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
            from .photos.layout import list_pictures

            return list_pictures(config).content()
        case ImageNet():
            from .photos.listing import find_photos

            return find_photos(config.root).content()
        case Coco():
            from .coco import files

            return files.hash_content(config)
    return find_source(config).content(config)


def find_photo_folders(config: DataConfig) -> dict[str, Path]:
    """Return the folders that the names of a set's photos begin with; {} for a set that is published as a whole."""
    match config:
        case Folder():
            from .photos.layout import find_bases

            return find_bases(config)
        case ImageNet():
            from .photos.listing import SPLITS

            return {split: Path(config.root).expanduser() / split for split in SPLITS}
        case Coco():
            from .coco.files import locate_files

            return {split: files.images for split, files in locate_files(config).items()}
    return {}


def list_photo_names(config: DataConfig) -> list[str] | None:
    """Return the names of all photos that a set has, used or not; None where an annotation file says which it has."""
    match config:
        case Folder():
            from .photos.layout import list_pictures

            return list_pictures(config).names()
        case ImageNet():
            from .photos.listing import find_photos

            return find_photos(config.root).names()
    return None


def describe_data_changes(config: DataConfig, photos: "Sequence[Photo]", *, before: str, now: str) -> str:
    """Say what of the data has changed since a run used ``photos``; "" where nothing has that matters to it.

    ``before`` and ``now`` are the fingerprints. Of photos that no split has, only their number and names matter.
    """
    from .photos.manifest import find_changes

    listed = list_photo_names(config) if before != now else None
    told = find_changes(photos, find_photo_folders(config), listed).describe() if photos else ""
    if told or before == now or (photos and listed is not None):
        return told
    return "its annotations are others" if photos else f"its content is {now}, not {before}"


def load_raw(config: DataConfig) -> "Raw":
    """Load a set that lies in memory as a whole. Raises UserError where it is missing or damaged."""
    match config:
        case Digits():
            from .sets import digits

            return digits.load_digits()
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

            return folder.load_folder(config)
    return find_source(config).load(config)


def find_source(config: DataConfig) -> Source[DataConfig]:
    """Return the source that a plug-in has registered for this choice. Raises UserError where there is none."""
    source: Source[DataConfig] = find_builder(config)
    return source


def build_data(
    config: DataConfig,
    *,
    target: str | None = None,
    seed: int,
    accumulate: int = 1,
    devices: int = 1,
    normalization: "Normalization | None" = None,
) -> "DataModule":
    """Load a data set and apply the choice of its classes, sizes and splits; ``seed`` decides the order of an epoch.

    ``target`` is what the task learns from: "class", "labels", "boxes" or "masks"; by default the first that the set
    has. ``normalization`` is the one stored with the initial weights, for data.normalize=weights.
    Raises UserError for everything that is wrong with the data or these settings.
    """
    target = target or config.targets[0]
    if target not in config.targets:
        raise UserError(f"data={config.name} has no {target}, but {', '.join(config.targets)}")
    common: BuildSettings = {
        "seed": seed,
        "accumulate": accumulate,
        "devices": devices,
        "normalization": normalization,
    }
    match config:
        case Coco() if target == "labels":
            from .coco import multilabel

            return multilabel.build_multilabel_data(config, **common)
        case Coco():
            from .coco import detection

            return detection.build_detection_data(config, masks=target == "masks", **common)
        case ImageNet():
            from .sets import imagenet

            return imagenet.build_imagenet(config, **common)
        case Folder(decode="while_training"):
            from .sets import folder

            return folder.build_streamed_folder(config, **common)
    from .resident import module

    return module.build_resident_data(config, lambda: load_raw(config), **common)
