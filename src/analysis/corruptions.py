"""Corrupt whole batches of images as CIFAR-10-C does: 15 corruptions of 5 strengths, on the device that holds them.

The strengths are those that Hendrycks & Dietterich (2019) made CIFAR-10-C with, for 32 pixels; lengths in pixels grow
with the side of the image. The random numbers are others, so images are alike in kind and not equal, and errors on
them are no published numbers. Frost needs photos there and is procedural here. Whatever a strength leaves open (the
angle of a blur, each draw of noise) is a function of the seed, the corruption, its strength and the place in the set.
"""

import hashlib
from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor

from .corruptions_blur import (
    add_gaussian_noise,
    add_impulse_noise,
    add_shot_noise,
    blur_by_defocus,
    blur_by_glass,
    blur_by_motion,
    blur_by_zoom,
)
from .corruptions_weather import (
    add_fog,
    add_frost,
    add_snow,
    change_brightness,
    compress_as_jpeg,
    lower_contrast,
    pixelate,
    warp_elastically,
)

Corruption = Callable[[Tensor, int, Generator], Tensor]  # images in [0, 1], float32 [B, C, S, S], and a strength

CORRUPTIONS: dict[str, Corruption] = {  # by the names of CIFAR-10-C's files, in the order of its paper
    "gaussian_noise": add_gaussian_noise,
    "shot_noise": add_shot_noise,
    "impulse_noise": add_impulse_noise,
    "defocus_blur": blur_by_defocus,
    "glass_blur": blur_by_glass,
    "motion_blur": blur_by_motion,
    "zoom_blur": blur_by_zoom,
    "snow": add_snow,
    "frost": add_frost,
    "fog": add_fog,
    "brightness": change_brightness,
    "contrast": lower_contrast,
    "elastic_transform": warp_elastically,
    "pixelate": pixelate,
    "jpeg_compression": compress_as_jpeg,
}
PROCEDURAL = ("frost",)  # made of random numbers where the published set lays photos on the images
STRENGTHS = 5
BATCH = 500  # images at once, to bound the memory


def corrupt(images: Tensor, name: str, strength: int, *, seed: int = 0, start: int = 0) -> Tensor:
    """Corrupt a batch of uint8 images [B, S, S, C], whose first is the number ``start`` of its set."""
    generator = torch.Generator(images.device).manual_seed(derive_seed(seed, name, strength, start))
    scaled = images.permute(0, 3, 1, 2).to(torch.float32) / 255
    changed = CORRUPTIONS[name](scaled.contiguous(), strength, generator)
    return changed.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def corrupt_set(images: Tensor, name: str, strength: int, *, seed: int = 0) -> Iterator[Tensor]:
    """Yield the corrupted images of a whole set, uint8 [N, S, S, C], in batches and in order."""
    for start in range(0, len(images), BATCH):
        yield corrupt(images[start : start + BATCH], name, strength, seed=seed, start=start)


def derive_seed(seed: int, name: str, strength: int, start: int) -> int:
    """Derive the seed of a batch's random numbers."""
    text = f"{seed} {name} {strength} {start}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
