"""Choose how pixels are normalised, and normalise them (``Normalization`` in src/data/info.py)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..config.data import DataConfig
from ..errors import UserError
from .info import DatasetInfo, Normalization

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def choose_normalization(config: DataConfig, info: DatasetInfo, stored: Normalization | None) -> Normalization:
    """Return the normalisation of photos that the configuration names; ``stored`` is the one of the initial weights.

    "dataset" means ImageNet's mean and deviation, for other photos too: measuring theirs would mean to decode all.
    Raises UserError where it asks for weights that bring none, or for a mean image.
    """
    name = "dataset" if config.normalize == "auto" else config.normalize
    if name == "weights":
        if stored is None:
            raise UserError(
                "data.normalize=weights: it comes with weights, so it needs model.weights=<a checkpoint of ours>"
            )
        check_fits(stored, info)
    if name == "per_pixel_mean" or (name == "weights" and stored and stored["mean_image"] is not None):
        raise UserError(f"data.normalize={name}: photos of many sizes have no mean image; use data.normalize=imagenet")
    return stored if name == "weights" and stored else make_normalization(name, info, torch.empty(0))


def measure_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel, in [0, 1], over all pixels of uint8 images [N, H, W, C]."""
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(-1):
        frequency = torch.zeros(256, dtype=torch.float64)  # of each value of a byte
        for part in channel.split(4096):  # bincount widens its input to int64
            frequency += torch.bincount(part.flatten(), minlength=256)
        frequency /= channel.numel()
        centre = float(frequency @ values)
        mean.append(centre)
        std.append(float(frequency @ (values - centre).square()) ** 0.5)
    return tuple(mean), tuple(std)


def compute_mean_image(images: Tensor) -> Tensor:
    """Return the mean image [H, W, C], in [0, 1], of uint8 images [N, H, W, C]."""
    total = torch.zeros(images.shape[1:], dtype=torch.int64)
    for part in images.split(4096):
        total += part.sum(0)
    return (total / (255 * len(images))).to(torch.float32)


def make_normalization(name: str, info: DatasetInfo, train: Tensor) -> Normalization:
    """Return the normalisation of this name for a set with the training images ``train`` uint8 [N, H, W, C]."""
    mean, std = list(info.mean), list(info.std)
    if name == "imagenet":
        mean, std = list(IMAGENET_MEAN), list(IMAGENET_STD)
        if info.channels == 1:
            mean, std = [sum(mean) / 3], [sum(std) / 3]
    elif name == "half":  # to [-1, 1]
        mean, std = [0.5] * info.channels, [0.5] * info.channels
    elif name in ("none", "per_pixel_mean"):
        mean, std = [0.0] * info.channels, [1.0] * info.channels
    return {
        "name": name,
        "mean": mean,
        "std": [s or 1.0 for s in std],  # a channel of one value has no spread to divide by
        "mean_image": compute_mean_image(train) if name == "per_pixel_mean" else None,
    }


def check_fits(normalization: Normalization, info: DatasetInfo) -> None:
    """Raise UserError where the normalisation stored with the weights was made for images of another shape."""
    channels, mean_image = len(normalization["mean"]), normalization["mean_image"]
    if channels != info.channels:
        raise UserError(
            f"data.normalize=weights: the weights saw images of {channels} channel{'s' * (channels > 1)}, "
            f"not of {info.channels}; set data.channels={channels}"
        )
    if mean_image is not None and len(mean_image) != info.image_size:
        raise UserError(
            f"data.normalize=weights: the weights' mean image has a side of {len(mean_image)} pixels, "
            f"not of {info.image_size}; set data.image_size={len(mean_image)}"
        )


def is_normalization(stored: Mapping[str, object]) -> bool:
    """Return whether what a file holds is a whole ``Normalization``."""
    mean, std, mean_image = (stored.get(name) for name in ("mean", "std", "mean_image"))
    if not isinstance(mean, list) or not isinstance(std, list) or not len(mean) == len(std) > 0:
        return False
    numbers = all(isinstance(value, float | int) and math.isfinite(value) for value in (*mean, *std))
    image = mean_image is None or (isinstance(mean_image, Tensor) and mean_image.ndim == 3)
    return numbers and image and 0 not in std and isinstance(stored.get("name"), str)


def compute_affine(normalization: Normalization, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the scale and shift, each [size * size * C], that turn bytes into normalised pixels.

    They are as long as an image because broadcasting over a last axis of 3 costs seven times as much.
    """
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in (normalization["mean"], normalization["std"]))
    scale = (1 / (255 * std)).to(device, torch.float32).repeat(size * size)
    if (mean_image := normalization["mean_image"]) is not None:
        return scale, -mean_image.to(device).flatten()
    return scale, (-mean / std).to(device, torch.float32).repeat(size * size)


def apply_affine(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale and shift bytes [B, H, W, C] into float32 [B, C, H, W], channels_last; scale, shift: ([B,] H * W * C).

    Pixels that are float32 already, though still in [0, 255], are overwritten.
    """
    flat = images.flatten(1).to(torch.float32).mul_(scale).add_(shift)
    return flat.view(images.shape).permute(0, 3, 1, 2)


def normalize(images: Tensor, normalization: Normalization) -> Tensor:
    """Normalise square uint8 images [B, H, W, C] as a network takes them: float32 [B, C, H, W], channels_last."""
    return apply_affine(images, *compute_affine(normalization, images.shape[1], images.device))
