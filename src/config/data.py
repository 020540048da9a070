"""The choice of a data set."""

import os
from dataclasses import dataclass
from typing import ClassVar

from ..files import LONGEST_ADDED, check_folder_name, is_file_name
from .choices import Choice, check_name, register_choice
from .fields import check_choices, check_pattern, require, setting

PARTS = ("annotations", "images", "labels", "photos", "train", "training")  # of a set, in folders of these names


def name_folder(root: str) -> str:
    """Return the name by which a person knows a folder, above those of its parts; "" where it has none."""
    path = os.path.abspath(os.path.expanduser(root))
    while os.path.basename(path) in PARTS:
        path = os.path.dirname(path)
    name = os.path.basename(path).removesuffix(".zip")
    return name if name and not name.startswith(".") and is_file_name(name + LONGEST_ADDED) else ""


@dataclass
class DataConfig(Choice):
    """Settings of every data set."""

    name: str = setting("", "the data set")
    title: str = setting(
        "", "its name in run directories and reports; of your own pictures by default their folder's", identity=False
    )
    root: str = setting("data", "the folder that holds the data sets, or your photos", identity=False)
    batch_size: int = setting(
        128, "images an optimizer step, over all devices and accumulated parts; auto, for your own pictures: fitted"
    )
    eval_batch_size: int = setting(512, "images a validation or test batch, over all devices", identity=False)
    val_fraction: float = setting(0.1, "fraction of the training set held out for validation, in [0, 1)")
    split_seed: int = setting(0, "seed of the validation split and of limit_train")
    limit_train: float | None = setting(
        None, "train on a class-balanced subset: a fraction (at most 1) or a number of images (above 1)"
    )
    classes: list[str] | None = setting(None, "keep only these classes, by name or number, in this order")
    image_size: int | None = setting(None, "side of the square images; the set's own by default; auto: fitted [pixels]")
    channels: int | None = setting(None, "1 or 3; the set's own by default; auto: 1 where all pictures are grey")
    normalize: str = setting(
        "auto",
        "how pixels are scaled; auto: as the initial weights expect, else dataset; half: to [-1, 1]",
        choices=("auto", "dataset", "imagenet", "half", "per_pixel_mean", "none", "weights"),
        neutral="dataset",
    )
    augment: str = setting("none", "the training augmentation preset, by name (src/data/transforms.py)")

    config_group: ClassVar[str] = "data"
    targets: ClassVar[tuple[str, ...]] = ("class",)  # what its images come with; the first chooses the default task
    fewest_classes: ClassVar[int] = 2
    fitted: ClassVar[bool] = False  # "auto" is settled from the set; on the command line it is typed auto, here it is 0

    def __post_init__(self) -> None:
        check_name(self)
        check_choices(self, "data")
        require(self.batch_size >= (0 if self.fitted else 1), f"data.batch_size={self.batch_size}: at least 1 image")
        require(0 <= self.split_seed < 2**32, f"data.split_seed={self.split_seed}: from 0 to 2**32 - 1")
        require(self.eval_batch_size >= 1, f"data.eval_batch_size={self.eval_batch_size}: at least 1 image")
        require(0 <= self.val_fraction < 1, f"data.val_fraction={self.val_fraction}: from 0 up to, but not, 1")
        require(
            self.limit_train is None or self.limit_train > 0,
            f"data.limit_train={self.limit_train}: a fraction in (0, 1] or a number of images above 1",
        )
        require(
            self.channels in (None, 1, 3) or (self.fitted and self.channels == 0),
            f"data.channels={self.channels}: 1 or 3",
        )
        require(
            self.image_size is None or 4 <= self.image_size <= 2048 or (self.fitted and self.image_size == 0),
            f"data.image_size={self.image_size}: from 4 to 2048 pixels",
        )
        require(
            self.classes is None or len(self.classes) >= self.fewest_classes,
            f"data.classes={self.classes}: at least two classes",
        )
        if self.title:
            check_folder_name("data.title", self.title)
        self.check()

    @property
    def label(self) -> str:
        """The set's name for people: in run directories, messages and reports."""
        return self.title or self.find_folder_name() or self.name

    def find_folder_name(self) -> str:
        """Return the name of the folder of a set of one's own; "" for a set that has a name."""
        return ""

    def check(self) -> None:
        """Raise UserError where the settings of this choice alone are wrong."""


@register_choice
@dataclass
class Digits(DataConfig):
    """scikit-learn's digits; they come with the library."""

    name: str = setting("digits", "the data set", neutral="")

    choice: ClassVar[str] = "digits"


@dataclass
class Official(DataConfig):
    """A set that is published as archives."""

    download: bool = setting(True, "fetch a missing official set", identity=False)


@register_choice
@dataclass
class Cifar10(Official):
    name: str = setting("cifar10", "the data set", neutral="")

    choice: ClassVar[str] = "cifar10"


@register_choice
@dataclass
class Cifar100(Official):
    name: str = setting("cifar100", "the data set", neutral="")

    choice: ClassVar[str] = "cifar100"


@register_choice
@dataclass
class FashionMNIST(Official):
    name: str = setting("fashion_mnist", "the data set", neutral="")

    choice: ClassVar[str] = "fashion_mnist"


@dataclass
class Own(DataConfig):
    """What sets of your own pictures share."""

    cache: str | None = setting(
        None, "the folder for what is unpacked or converted; by default ~/.cache/residual", identity=False
    )
    test_fraction: float = setting(
        0.2, "fraction of the pictures held out for the test, where the set has no test of its own, in (0, 1)"
    )

    def check(self) -> None:
        require(0 < self.test_fraction < 1, f"data.test_fraction={self.test_fraction}: between 0 and 1")
        require(self.cache != "", "data.cache=: name a folder, or leave this out")


@register_choice
@dataclass
class Folder(Own):
    """Pictures of your own: in class folders, in a table of paths and labels, or a zip of either."""

    name: str = setting("folder", "the data set", neutral="")
    skip_unreadable: bool = setting(False, "go on without image files that cannot be read")
    table: str | None = setting(
        None, "a CSV or parquet file of paths below data.root and their labels, in place of class folders"
    )
    path_column: str | None = setting(None, "the table's column of paths; by default found by its name")
    label_column: str | None = setting(None, "the table's column of labels; by default found by its name")
    group: str | None = setting(
        None, "what pictures of one group share, which stay in one split: a column, or a pattern of their paths"
    )
    balance: str = setting(
        "none",
        "even rare and frequent classes: draw each equally often, or weigh the loss",
        choices=("none", "sampler", "loss"),
    )
    decode: str = setting(
        "once",
        "pictures lie in memory, or are decoded while training; auto: in memory up to 1 GiB",
        choices=("auto", "once", "while_training"),
    )
    workers: int | None = setting(
        None, "processes that read data, a device; by default the cores less one", identity=False
    )

    choice: ClassVar[str] = "folder"
    fitted: ClassVar[bool] = True

    def check(self) -> None:
        super().check()
        require(self.workers is None or 0 <= self.workers <= 1024, f"data.workers={self.workers}: from 0 to 1024")
        for name in ("path_column", "label_column"):
            require(
                self.table is not None or getattr(self, name) is None,
                f"data.{name}: names a column; set data.table=… too",
            )
        require(self.table != "", "data.table=: name a CSV or parquet file, or leave this out")
        if self.group is not None and self.table is None:
            check_pattern(self.group)

    def find_folder_name(self) -> str:
        return name_folder(self.root) if self.root != "data" else ""


@dataclass
class Photos(DataConfig):
    """Photos of many sizes, decoded while training."""

    skip_unreadable: bool = setting(False, "go on without image files that cannot be read")
    test_size: int | None = setting(
        None, "photos: side of validation and test images; by default the preset's, or data.image_size [pixels]"
    )
    train_sizes: list[int] = setting(
        [],
        "photos: sides of the training images, each for an equal part of the epochs (progressive resizing); "
        "detection: their shorter sides, drawn for each image [pixels]",
    )
    train_sizes_ramp: list[float] = setting(
        [],
        "photos: [from, to], fractions of the epochs between which the side rises from the first to the last of them",
    )
    workers: int | None = setting(
        None, "processes that read data, a device; by default the cores less one", identity=False
    )

    def check(self) -> None:
        require(
            self.test_size is None or 4 <= self.test_size <= 2048,
            f"data.test_size={self.test_size}: from 4 to 2048 pixels",
        )
        require(self.workers is None or 0 <= self.workers <= 1024, f"data.workers={self.workers}: from 0 to 1024")
        sizes, ramp = self.train_sizes, self.train_sizes_ramp
        require(all(4 <= size <= 2048 for size in sizes), f"data.train_sizes={sizes}: each from 4 to 2048 pixels")
        require(
            not sizes or self.image_size is None,
            f"data.train_sizes={sizes} and data.image_size={self.image_size}: both name the training images' side",
        )
        require(
            not ramp or (len(ramp) == 2 and 0 <= ramp[0] < ramp[1] <= 1 and len(sizes) == 2),
            f"data.train_sizes_ramp={ramp}: two rising fractions of the epochs, between two data.train_sizes",
        )


@register_choice
@dataclass
class ImageNet(Photos):
    """Photos in class folders."""

    name: str = setting("imagenet", "the data set", neutral="")
    mixup: float | None = setting(None, "parameter of mixup's Beta distribution; by default the preset's; 0: none")
    cutmix: float | None = setting(None, "parameter of CutMix's Beta distribution; by default the preset's; 0: none")
    ten_crop: bool = setting(False, "test on corners, centre and their mirror images, averaged")

    choice: ClassVar[str] = "imagenet"

    def check(self) -> None:
        super().check()
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"data.{name}={value}: above 0, or 0 for none")


@register_choice
@dataclass
class Coco(Photos, Own):
    """Photos with annotations in COCO's format, or in Pascal VOC's or YOLO's, which are converted."""

    name: str = setting("coco", "the data set", neutral="")
    max_size: int | None = setting(
        None, "detection: the most that the longer side becomes; by default 5/3 of the shorter one's [pixels]"
    )
    train_json: str | None = setting(None, "your own training annotations", identity=False)
    train_images: str | None = setting(None, "the folder of their images; beside them by default", identity=False)
    val_json: str | None = setting(
        None, "your own validation annotations; without test_json, the test's", identity=False
    )
    val_images: str | None = setting(None, "the folder of their images; beside them by default", identity=False)
    test_json: str | None = setting(None, "your own test annotations", identity=False)
    test_images: str | None = setting(None, "the folder of their images; beside them by default", identity=False)

    choice: ClassVar[str] = "coco"
    targets: ClassVar[tuple[str, ...]] = ("labels", "boxes", "masks")
    fewest_classes: ClassVar[int] = 1

    def find_folder_name(self) -> str:
        return name_folder(os.path.dirname(os.path.abspath(self.train_json))) if self.train_json else ""

    def check(self) -> None:
        Photos.check(self)
        Own.check(self)
        require(
            self.max_size is None or self.max_size >= max(self.test_size or self.image_size or 4, *self.train_sizes, 4),
            f"data.max_size={self.max_size}: the longer side is at least as long as the shorter one",
        )
