"""Build the data module of detectors on a set in COCO's format (src/data/coco/objects.py has its loaders)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from ...config.data import Coco
from ...errors import UserError
from ..base import CommonSettings, DataModule, check_batch_size, check_parts
from ..info import DatasetInfo, Normalization
from ..normalization import IMAGENET_MEAN, IMAGENET_STD, choose_normalization
from ..raw import PhotoFiles
from ..workers import count_workers
from .index import CocoIndex, load_splits
from .objects import EvalLoader, TrainLoader, TrainReader, list_photo_files, select_learnable

if TYPE_CHECKING:
    from typing_extensions import Unpack

IMAGE_SIZE = 800  # of the shorter side, where data.image_size names none [pixels]
AUGMENTS = {"none": False, "flip": True}  # whether a photo is mirrored, half of the time


def build_detection_data(
    config: Coco,
    *,
    seed: int,
    accumulate: int,
    devices: int,
    normalization: Normalization | None,
    masks: bool,
) -> "DetectionData":
    """Build the data module of detectors, which learn ``masks`` too where the task asks for them.

    Raises UserError for everything that is wrong with the files or these settings.
    """
    check_parts(config.batch_size, devices, accumulate)
    if config.augment not in AUGMENTS:
        raise UserError(f"data.augment={config.augment}: is not for detection; there are: {', '.join(AUGMENTS)}")
    if config.channels == 1:
        raise UserError("data.channels=1: detection takes photos in colour")
    indices = _load_indices(config, masks)
    images = len(indices["train"])
    check_batch_size(config.batch_size, images, "training images that show something to find")
    size = config.test_size or config.image_size or max(config.train_sizes, default=IMAGE_SIZE)
    info = DatasetInfo(config.name, indices["train"].classes, 3, size, IMAGENET_MEAN, IMAGENET_STD)
    return DetectionData(
        info,
        indices,
        normalization=choose_normalization(config, info, normalization),
        masks=masks,
        flip=AUGMENTS[config.augment],
        train_sizes=config.train_sizes or [config.image_size or size],
        seed=seed,
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        accumulate=accumulate,
        workers=count_workers(config.workers, devices),
    )


def _load_indices(config: Coco, masks: bool) -> dict[str, CocoIndex]:
    """Load the index of each split; keep only the training images that show an object to learn from."""
    indices = load_splits(config)
    for index in indices.values():
        index.require_boxes()
        if masks:
            index.require_masks()
    train = indices["train"]
    indices["train"] = train.take([i for i in range(len(train)) if select_learnable(train, i, masks)])
    if not len(indices["train"]):
        raise UserError(
            f"{train.source}: no image shows an object to learn {'masks' if masks else 'boxes'} from; crowds "
            "(iscrowd=1) and boxes without an area do not count"
        )
    return indices


class DetectionData(DataModule):
    """Hold the splits of a COCO-format set for a detector.

    ``info.image_size`` is the shorter side in evaluation; in training one of ``train_sizes`` is drawn for each image.
    ``common``: see DataModule.
    """

    def __init__(
        self,
        info: DatasetInfo,
        indices: dict[str, CocoIndex],
        *,
        masks: bool,
        flip: bool,
        train_sizes: Sequence[int],
        workers: int = 0,
        **common: "Unpack[CommonSettings]",
    ) -> None:
        super().__init__(info, indices, **common)
        self.indices, self.masks, self.flip = indices, masks, flip
        self.train_sizes, self.workers = list(train_sizes), workers

    def list_photos(self) -> dict[str, PhotoFiles]:
        return {split: list_photo_files(index) for split, index in self.indices.items()}

    @property
    def sides(self) -> list[int]:
        return [*self.train_sizes, self.info.image_size]

    def train_loader(
        self,
        device: torch.device | str = "cpu",
        *,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
        trained: Callable[[], int] | None = None,
    ) -> TrainLoader:
        check_parts(self.batch_size, world, self.accumulate)
        read = TrainReader(
            self.indices["train"],
            masks=self.masks,
            flip=self.flip,
            sides=self.train_sizes,
            seed=self.seed,
            epoch=epoch,
        )
        return TrainLoader(
            read,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            rank=rank,
            world=world,
            workers=self.workers,
            device=device,
            trained=trained,
        )

    def eval_loader(
        self, split: str, device: torch.device | str = "cpu", *, rank: int = 0, world: int = 1
    ) -> EvalLoader:
        return EvalLoader(
            self.indices[split],
            batch_size=self.eval_batch_size,
            rank=rank,
            world=world,
            workers=self.workers,
            device=device,
        )
