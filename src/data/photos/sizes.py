"""Choose the side of training and test photos, epoch by epoch."""

from collections.abc import Sequence

from ...config.data import Photos as PhotosConfig
from ..transforms import Photos


def choose_sides(config: PhotosConfig, preset: Photos) -> tuple[list[int], int]:
    """Return the sides of the training images, in the order of the epochs, and that of the test images [pixels]."""
    if config.train_sizes:
        return config.train_sizes, config.test_size or preset.test_size
    if config.image_size:
        return [config.image_size], config.test_size or config.image_size
    return [preset.train_size], config.test_size or preset.test_size


def compute_side(epoch: int, epochs: int, sizes: Sequence[int], ramp: Sequence[float] = ()) -> int:
    """Return the side of the training images in this epoch (from 0) of ``epochs`` [pixels].

    Each of ``sizes`` holds for an equal part of the epochs. With ``ramp`` = (from, to), fractions of the epochs, the
    side stays at the first size, then rises in multiples of 32 to the last, and stays there.
    """
    if not ramp:
        return sizes[min(epoch * len(sizes) // epochs, len(sizes) - 1)]
    progress, (first, last) = epoch / epochs, ramp
    if progress <= first or progress >= last:
        return sizes[0 if progress <= first else -1]
    side = sizes[0] + (sizes[-1] - sizes[0]) * (progress - first) / (last - first)
    return round(side / 32) * 32
