"""The data module of detectors, on a set in COCO's format (src/data/coco/objects.py has its targets and loaders)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...config.data import Coco
from ...errors import UserError
from ..base import DataModule, check_parts
from ..info import DatasetInfo
from ..normalization import IMAGENET_MEAN, IMAGENET_STD, choose_normalization
from ..workers import count_workers
from .index import CocoIndex, load_splits
from .objects import EvalLoader, TrainLoader, TrainReader, select_learnable

IMAGE_SIZE = 800  # of the shorter side, where data.image_size names none [pixels]


AUGMENTS = {"none": False, "flip": True}  # whether every other photo is mirrored


def build_detection_data(
    config: Coco,
    *,
    seed: int,
    accumulate: int,
    devices: int,
    normalization: dict[str, Any] | None,
    masks: bool,
) -> "DetectionData":
    """``src.data.build.build_data`` for detectors, which learn ``masks`` too where the task asks for them.

    Raises UserError for everything that is wrong with the files or these settings.
    """
    check_parts(config.batch_size, devices, accumulate)
    if config.augment not in AUGMENTS:
        raise UserError(f"data.augment={config.augment}: is not for detection; there are: {', '.join(AUGMENTS)}")
    if config.channels == 1:
        raise UserError("data.channels=1: detection takes photos in colour")
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
    if config.batch_size > len(indices["train"]):
        raise UserError(
            f"data.batch_size={config.batch_size} is larger than the {len(indices['train'])} training images that "
            "show something to find; lower it, for no batch would be full"
        )
    size = config.test_size or config.image_size or max(config.train_sizes, default=IMAGE_SIZE)
    info = DatasetInfo(config.name, train.classes, 3, size, IMAGENET_MEAN, IMAGENET_STD)
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


class DetectionData(DataModule):
    """The splits of a COCO-format set for a detector.

    ``info.image_size`` is the shorter side in evaluation; in training it is one of ``train_sizes``, drawn by the image.
    common: see DataModule.
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
        **common: Any,
    ) -> None:
        super().__init__(info, indices, **common)
        self.indices, self.masks, self.flip = indices, masks, flip
        self.train_sizes, self.workers = list(train_sizes), workers

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
