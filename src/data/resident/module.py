"""Build the data module of small images, and make its loaders on any device."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...config.data import DataConfig
from ...errors import UserError
from ..adapt import convert_channels, resize_images, select_classes
from ..base import CommonSettings, DataModule, check_batch_size, check_parts
from ..cut import make_splits
from ..info import DatasetInfo, Normalization
from ..normalization import check_fits, make_normalization, measure_statistics
from ..order import weigh_samples
from ..raw import PhotoFiles, Raw, Split
from ..transforms import Preset, find_preset
from .augment import pad_images
from .loader import EvalLoader, TrainLoader

if TYPE_CHECKING:
    from typing_extensions import Unpack


def build_resident_data(
    config: DataConfig,
    load: Callable[[], Raw],
    *,
    seed: int,
    accumulate: int,
    devices: int,
    normalization: Normalization | None,
) -> "ImageData":
    """Build the data module of a set that ``load`` reads into memory: choose classes, split, resize and measure.

    Raises UserError for everything that is wrong with the data or these settings.
    """
    augment = find_preset(config.augment)
    check_parts(config.batch_size, devices, accumulate)
    if config.normalize == "weights" and normalization is None:
        raise UserError(
            "data.normalize=weights: it comes with weights, so it needs model.weights=<a checkpoint of ours>"
        )
    try:
        raw = load()
    except OSError as error:  # no permission, no space, a disk that fails: it names the file itself
        raise UserError(f"data={config.name}: {error}") from error
    facts = raw.info
    if config.classes:
        raw = select_classes(raw, config.classes)
    splits, info = make_splits(raw, config), raw.info
    del raw  # a large folder would otherwise lie in memory twice
    check_batch_size(config.batch_size, len(splits["train"]))
    size, channels = config.image_size or facts.image_size, config.channels or facts.channels
    splits = {name: convert_channels(resize_images(split, size), channels) for name, split in splits.items()}
    train = torch.from_numpy(splits["train"].images)
    info = replace(info, image_size=size, channels=channels)
    info = _update_statistics(info, facts, train, selected=bool(config.classes))
    if config.normalize == "weights" and normalization is not None:
        check_fits(normalization, info)
    else:  # auto, where nobody has chosen before, is the set's own
        normalization = make_normalization("dataset" if config.normalize == "auto" else config.normalize, info, train)
    return ImageData(
        info,
        splits,
        normalization=normalization,
        augment=augment,
        balanced=getattr(config, "balance", "none") == "sampler",
        seed=seed,
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        accumulate=accumulate,
    )


def _update_statistics(info: DatasetInfo, facts: DatasetInfo, train: Tensor, *, selected: bool) -> DatasetInfo:
    """Return ``info`` with the mean and deviation of ``train`` where those of the set's ``facts`` no longer hold.

    ``selected``: whether classes were selected.
    """
    changed = selected or info.image_size != facts.image_size or info.channels < facts.channels
    if changed or not facts.mean:
        mean, std = measure_statistics(train)
        return replace(info, mean=mean, std=std)
    if info.channels > facts.channels:
        return replace(info, mean=facts.mean * info.channels, std=facts.std * info.channels)
    return info


class ImageData(DataModule):
    """Hold splits that lie, as bytes, on the device that uses them; ``common``: see DataModule."""

    def __init__(
        self,
        info: DatasetInfo,
        splits: dict[str, Split],
        *,
        augment: Preset,
        balanced: bool = False,
        **common: "Unpack[CommonSettings]",
    ) -> None:
        super().__init__(info, splits, **common)
        self.augment = augment
        self._paths = {name: split.paths for name, split in splits.items() if split.paths is not None}
        self._splits = {
            name: (torch.from_numpy(split.images).contiguous(), torch.from_numpy(split.labels))
            for name, split in splits.items()
        }
        images, labels = self._splits["train"]
        self.weights = weigh_samples(splits["train"].labels) if balanced else None
        self.padding = p = augment.padding(info.image_size)
        # padded once; zeros come before the normalisation, as torchvision's RandomCrop pads raw pixels
        self._splits["train"] = (pad_images(images, p, reflect=augment.reflect), labels)
        self._resident: dict[tuple[str, torch.device], tuple[Tensor, Tensor]] = {}

    def list_photos(self) -> dict[str, PhotoFiles]:
        return {split: PhotoFiles([os.fsdecode(path) for path in paths]) for split, paths in self._paths.items()}

    def get_picture(self, split: str, i: int) -> Tensor:
        image, p = self._splits[split][0][i], self.padding if split == "train" else 0
        return image[p : len(image) - p, p : len(image) - p].permute(2, 0, 1)

    def resident(self, split: str, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Return images uint8 [N, H, W, C] (train: padded) and labels int64 [N] on the device; move them there once."""
        key = split, torch.device(device)
        if key not in self._resident:
            images, labels = self._splits[split]
            self._resident[key] = images.to(device), labels.to(device)
        return self._resident[key]

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
        images, labels = self.resident("train", device)
        return TrainLoader(
            images,
            labels,
            self.normalization,
            padding=self.padding,
            reflect=self.augment.reflect,
            flip=self.augment.flip,
            alternate=self.augment.alternate,
            rotate=self.augment.rotate,
            scale=self.augment.scale,
            hole=self.augment.hole(self.info.image_size),
            least=self.augment.least,
            light=self.augment.light,
            weights=self.weights,
            seed=self.seed,
            epoch=epoch,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            rank=rank,
            world=world,
            trained=trained,
        )

    def eval_loader(
        self, split: str, device: torch.device | str = "cpu", *, rank: int = 0, world: int = 1
    ) -> EvalLoader:
        images, labels = self.resident(split, device)
        if split == "train" and (p := self.padding):
            images = images[:, p:-p, p:-p]
        size = self.eval_batch_size
        return EvalLoader(images, labels, self.normalization, batch_size=size, rank=rank, world=world)
