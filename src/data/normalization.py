"""How pixels are scaled. A normalisation is a plain dict, so that it can be stored with the weights:

``{"name": str, "mean": list[float], "std": list[float], "mean_image": float32 [H, W, C] or None}``
"""

from typing import Any

import torch
from torch import Tensor

from ..config.data import DataConfig
from ..errors import UserError
from .info import DatasetInfo


def choose_normalization(config: DataConfig, info: DatasetInfo, stored: dict[str, Any] | None) -> dict[str, Any]:
    """The normalisation that the configuration names; UserError where there is none, or where it asks for a mean image.

    "dataset" is ImageNet's mean and deviation, of other photos too: measuring would mean to decode all.
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


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def measure_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel over all pixels of uint8 images [N, H, W, C], in [0, 1]."""
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(-1):
        share = torch.zeros(256, dtype=torch.float64)
        for part in channel.split(4096):  # bincount widens its input to int64
            share += torch.bincount(part.flatten(), minlength=256)
        share /= channel.numel()
        centre = float(share @ values)
        mean.append(centre)
        std.append(float(share @ (values - centre).square()) ** 0.5)
    return tuple(mean), tuple(std)


def compute_mean_image(images: Tensor) -> Tensor:
    """The mean [H, W, C] of uint8 images [N, H, W, C], in [0, 1]."""
    total = torch.zeros(images.shape[1:], dtype=torch.int64)
    for part in images.split(4096):
        total += part.sum(0)
    return (total / (255 * len(images))).to(torch.float32)


def make_normalization(name: str, info: DatasetInfo, train: Tensor) -> dict[str, Any]:
    """The normalisation of this name for a set whose training images are ``train`` (uint8 [N, H, W, C])."""
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


def check_fits(normalization: dict[str, Any], info: DatasetInfo) -> None:
    """Raise UserError where the normalisation stored with some weights is one of other images than these."""
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


def compute_affine(normalization: dict[str, Any], size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and shift [size * size * C] that turn bytes into normalised pixels.

    They are as long as an image because broadcasting over a last axis of 3 costs seven times as much.
    """
    mean, std = (torch.tensor(normalization[key], dtype=torch.float64) for key in ("mean", "std"))
    scale = (1 / (255 * std)).to(device, torch.float32).repeat(size * size)
    if normalization["mean_image"] is not None:
        return scale, -normalization["mean_image"].to(device).flatten()
    return scale, (-mean / std).to(device, torch.float32).repeat(size * size)


def apply_affine(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Bytes [B, H, W, C] to float32 [B, C, H, W] in channels_last memory; scale, shift: ([B,] H * W * C).

    Pixels that are float32 already, though still in [0, 255], are overwritten.
    """
    flat = images.flatten(1).to(torch.float32).mul_(scale).add_(shift)
    return flat.view(images.shape).permute(0, 3, 1, 2)


def normalize(images: Tensor, normalization: dict[str, Any]) -> Tensor:
    """Square uint8 images [B, H, W, C] as a network takes them: float32 [B, C, H, W], channels_last."""
    return apply_affine(images, *compute_affine(normalization, images.shape[1], images.device))
