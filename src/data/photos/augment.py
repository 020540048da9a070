"""Photos to training and test images: torchvision's transforms a sample, erasing and mixing a batch on its device."""

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
    """A photo uint8 [C, H, W] as a training image uint8 [C, S, S], and the rectangle to be erased.

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
    """A photo uint8 [C, H, W] as its centre uint8 [C, S, S] after resizing its shorter side, or all of it, squeezed
    into the square, where ``resize`` is None.

    With ``ten_crop``: uint8 [10, C, S, S], the four corners and the centre and their mirror images.
    """

    def __init__(self, *, resize: int | None, size: int, ten_crop: bool = False) -> None:
        self.resize = v2.Resize((size, size) if resize is None else resize, antialias=True)
        self.crop = v2.TenCrop(size) if ten_crop else v2.CenterCrop(size)

    def __call__(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        crops = self.crop(self.resize(photo))
        return (torch.stack(crops) if isinstance(crops, tuple) else crops), NOWHERE


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Normalised images float [B, C, H, W], in place, with zeros (the mean colour) in their boxes int64 [B, 4].

    The boxes lie on the CPU; few images have one, so filling these beats a mask over all.
    """
    for image, (top, left, bottom, right) in zip(images, boxes.tolist(), strict=True):
        if bottom > top:
            image[:, top:bottom, left:right] = 0
    return images


class Mixing(NamedTuple):
    """How each image of a batch is mixed with the one before it.

    ``share`` stays its own; the rest comes as the rectangle ``box`` (top, left, bottom, right), or blended everywhere.
    """

    share: float
    box: tuple[int, int, int, int] | None = None


def draw_mixing(entropy: np.random.SeedSequence, *, mixup: float, cutmix: float, size: int) -> Mixing:
    """One batch's mixing; where both are wanted (above 0, the parameters of their Beta laws), each half of the time."""
    random = np.random.RandomState(np.random.MT19937(entropy))  # its stream is frozen across NumPy's versions
    cuts = cutmix > 0 and (mixup == 0 or random.random_sample() < 0.5)
    alpha = cutmix if cuts else mixup
    share = float(random.beta(alpha, alpha))
    if not cuts:
        return Mixing(share)
    half = int(0.5 * math.sqrt(1 - share) * size)
    x, y = (int(at) for at in random.randint(size, size=2))
    top, left, bottom, right = max(y - half, 0), max(x - half, 0), min(y + half, size), min(x + half, size)
    return Mixing(1 - (bottom - top) * (right - left) / size**2, (top, left, bottom, right))


def mix_images(images: Tensor, labels: Tensor, mixing: Mixing, *, num_classes: int) -> tuple[Tensor, Tensor]:
    """Images float [B, C, H, W] from [B + 1, …], each mixed with the one before it, and the shares of the classes
    float32 [B, num_classes] from labels int64 [B + 1]."""
    own, other = images[1:], images[:-1]
    if mixing.box is None:
        own = own.mul(mixing.share).add_(other.mul(1 - mixing.share))
    else:
        top, left, bottom, right = mixing.box
        own = own.clone()
        own[..., top:bottom, left:right] = other[..., top:bottom, left:right]
    shares = one_hot(labels, num_classes).to(torch.float32)
    return own, shares[1:] * mixing.share + shares[:-1] * (1 - mixing.share)
