"""Transform photos one by one with torchvision, and erase and mix whole batches on their device."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms import v2

from ..transforms import Photos

NOWHERE = torch.zeros(4, dtype=torch.int64)


class TrainTransform:
    """Turn a photo uint8 [C, H, W] into a training image uint8 [C, S, S] and the rectangle to be erased.

    The draws are those of torchvision's references, in their order, from torch's CPU generator. Erasing comes after
    the normalisation, hence on the device: (top, left, bottom, right) int64 [4], zeros for none.
    """

    def __init__(self, preset: Photos, size: int) -> None:
        if preset.crop:
            steps: list[v2.Transform] = [v2.RandomResizedCrop(size, scale=(preset.least, 1.0), antialias=True)]
        elif preset.square:
            steps = [v2.Resize((size, size), antialias=True)]
        else:
            steps = [v2.Resize(round(size * preset.resize), antialias=True), v2.CenterCrop(size)]
        if preset.flip:
            steps.append(v2.RandomHorizontalFlip())
        if preset.trivial_augment:
            steps.append(v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR))
        self.steps = v2.Compose(steps)
        self.eraser = v2.RandomErasing(p=preset.erase) if preset.erase else None

    def __call__(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        image = self.steps(photo)
        if self.eraser is None or torch.rand(1) >= self.eraser.p:
            return image, NOWHERE
        drawn = self.eraser.make_params([image])
        if drawn["v"] is None:  # ten rectangles in a row did not fit
            return image, NOWHERE
        top, left = drawn["i"], drawn["j"]
        return image, torch.tensor([top, left, top + drawn["h"], left + drawn["w"]])


class EvalTransform:
    """Turn a photo uint8 [C, H, W] into a test image uint8 [C, S, S]: its centre, after resizing the shorter side.

    Where ``resize`` is None, the whole photo is squeezed into the square. With ``ten_crop`` the result is
    uint8 [10, C, S, S]: the four corners and the centre and their mirror images.
    """

    def __init__(self, *, resize: int | None, size: int, ten_crop: bool = False) -> None:
        self.resize = v2.Resize((size, size) if resize is None else resize, antialias=True)
        self.crop = v2.TenCrop(size) if ten_crop else v2.CenterCrop(size)

    def __call__(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        crops = self.crop(self.resize(photo))
        return (torch.stack(crops) if isinstance(crops, tuple) else crops), NOWHERE


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Fill the boxes int64 [B, 4] of normalised images float [B, C, H, W] with zeros (the mean colour), in place.

    The boxes lie on the CPU; few images have one, so filling these beats a mask over all.
    """
    for image, (top, left, bottom, right) in zip(images, boxes.tolist(), strict=True):
        if bottom > top:
            image[:, top:bottom, left:right] = 0
    return images


class Mixing(NamedTuple):
    """Say how each image of a batch is mixed with the one before it.

    An image keeps ``fraction`` of its own; the rest comes from the other image, as the rectangle ``box`` (top, left,
    bottom, right) or blended everywhere.
    """

    fraction: float
    box: tuple[int, int, int, int] | None = None


def draw_mixing(entropy: np.random.SeedSequence, *, mixup: float, cutmix: float, size: int) -> Mixing:
    """Draw the mixing of one batch; mixup and cutmix are parameters of Beta distributions, each used half of the time.

    Where one of them is 0, the other is always used.
    """
    random = np.random.RandomState(np.random.MT19937(entropy))  # its numbers are frozen across NumPy's versions
    cuts = cutmix > 0 and (mixup == 0 or random.random_sample() < 0.5)
    alpha = cutmix if cuts else mixup
    fraction = float(random.beta(alpha, alpha))
    if not cuts:
        return Mixing(fraction)
    half = int(0.5 * math.sqrt(1 - fraction) * size)
    x, y = (int(at) for at in random.randint(size, size=2))
    top, left, bottom, right = max(y - half, 0), max(x - half, 0), min(y + half, size), min(x + half, size)
    return Mixing(1 - (bottom - top) * (right - left) / size**2, (top, left, bottom, right))


def mix_images(images: Tensor, labels: Tensor, mixing: Mixing, *, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mix images float [B + 1, C, H, W], each with the one before it, and their labels int64 [B + 1] alike.

    Returns images [B, C, H, W] and the fraction of each class, float32 [B, num_classes].
    """
    own, other = images[1:], images[:-1]
    if mixing.box is None:
        own = own.mul(mixing.fraction).add_(other.mul(1 - mixing.fraction))
    else:
        top, left, bottom, right = mixing.box
        own = own.clone()
        own[..., top:bottom, left:right] = other[..., top:bottom, left:right]
    targets = one_hot(labels, num_classes).to(torch.float32)
    return own, targets[1:] * mixing.fraction + targets[:-1] * (1 - mixing.fraction)
