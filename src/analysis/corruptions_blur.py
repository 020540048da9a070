"""The corruptions by noise and by blur; images are in [0, 1], float32 [B, C, S, S], strengths from 1 to 5."""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

NATIVE = 32  # the side of the images that lengths in pixels are given for


def add_gaussian_noise(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Add normal noise to each value."""
    deviation = (0.04, 0.06, 0.08, 0.09, 0.10)[strength - 1]
    return images + deviation * torch.randn(images.shape, generator=generator, device=images.device)


def add_shot_noise(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Replace each value by a count of photons, which is Poisson's."""
    photons = (500, 250, 100, 75, 50)[strength - 1]
    return torch.poisson(images * photons, generator=generator) / photons


def add_impulse_noise(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Set a fraction of the values to black or white, half of them each."""
    fraction = (0.01, 0.02, 0.03, 0.05, 0.07)[strength - 1]
    draws = torch.rand(images.shape, generator=generator, device=images.device)
    images = images.masked_fill(draws < fraction / 2, 0.0)
    return images.masked_fill(draws > 1 - fraction / 2, 1.0)


def blur_by_defocus(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Blur by a disk, as a lens out of focus does."""
    radius, softness = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[strength - 1]
    kernel = make_disk(radius * images.shape[-1] / NATIVE, softness).to(images.device)
    margin = kernel.shape[-1] // 2
    padded = F.pad(images.flatten(0, 1)[:, None], (margin,) * 4, mode="reflect")
    return F.conv2d(padded, kernel[None, None])[:, 0].view(images.shape)


def make_disk(radius: float, softness: float) -> Tensor:
    """Make the kernel of a disk whose edge is blurred by a Gaussian of 3 x 3 pixels."""
    reach = math.floor(radius) + 1
    line = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).double()
    weights = torch.exp(-(torch.arange(-1, 2, dtype=torch.float64) ** 2) / (2 * softness**2))
    weights = torch.outer(weights, weights) / weights.sum() ** 2
    return F.conv2d((disk / disk.sum())[None, None], weights[None, None], padding=1)[0, 0].float()


def blur_by_glass(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Blur, displace each pixel, and blur again, as frosted glass does.

    As in the published set, a pixel is overwritten by its neighbour above or to the left, not exchanged with it.
    """
    sigma, rounds = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[strength - 1]
    size = images.shape[-1]
    blurred = filter_both(images, make_gaussian(size, sigma * size / NATIVE)).mul(255).floor()
    for _ in range(rounds):
        blurred = displace(blurred, max(1, round(size / NATIVE)), generator)
    return filter_both(blurred / 255, make_gaussian(size, sigma * size / NATIVE))


def displace(images: Tensor, reach: int, generator: Generator) -> Tensor:
    """Replace each pixel, except near the border, by one at most ``reach`` further up and left, [B, C, S, S]."""
    count, _, size, _ = images.shape
    offsets = torch.randint(-reach, 1, (2, count, size, size), generator=generator, device=images.device)
    inner = torch.zeros(size, dtype=torch.bool, device=images.device)
    inner[reach + 1 : size - reach + 1] = True
    offsets *= inner[:, None] & inner
    lines = torch.arange(size, device=images.device)
    places = (lines[:, None] + offsets[0]) * size + lines + offsets[1]
    return images.flatten(2).gather(2, places.flatten(1)[:, None].expand(-1, images.shape[1], -1)).view(images.shape)


def blur_by_motion(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Blur along a line of up to 45 degrees from the horizontal, another one for each image, in whole degrees."""
    radius, sigma = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[strength - 1]
    angles = torch.randint(-45, 46, (len(images),), generator=generator, device=images.device)
    return blur_along(images, angles, radius, sigma)


def blur_along(images: Tensor, angles: Tensor, radius: float, sigma: float) -> Tensor:
    """Blur images along lines at ``angles`` [B] in degrees, to one side, with weights that fall as a Gaussian.

    Lengths are in pixels of images of 32; the taps lie on whole pixels, and the border is repeated.
    """
    scale = images.shape[-1] / NATIVE
    width = 2 * math.ceil(radius * scale) + 1
    weights = torch.exp(-(torch.arange(width, dtype=torch.float64) ** 2) / (2 * (sigma * scale) ** 2))
    weights = weights[weights > 1e-4 * weights[0]]
    weights /= weights.sum()
    size, reach = images.shape[-1], len(weights)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    blurred = torch.empty_like(images)
    for angle in angles.unique().tolist():
        members = (angles == angle).nonzero()[:, 0]
        part, total = padded[members], torch.zeros_like(images[members])
        for i, weight in enumerate(weights.tolist()):
            down, right = (reach + round(i * turn(math.radians(angle))) for turn in (math.sin, math.cos))
            total.add_(part[..., down : down + size, right : right + size], alpha=weight)
        blurred[members] = total
    return blurred


def blur_by_zoom(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Average the image with enlargements of its centre."""
    largest = (1.06, 1.11, 1.16, 1.21, 1.26)[strength - 1]
    zooms = np.arange(1, largest, 0.01)
    total = images.clone()
    for zoom in zooms.tolist():
        total += filter_both(images, make_zoom(images.shape[-1], zoom))
    return total / (len(zooms) + 1)


def filter_both(images: Tensor, matrix: Tensor) -> Tensor:
    """Apply a linear map of lines [T, S] to the rows and the columns of images [..., S, S]."""
    matrix = matrix.to(images.device)
    return matrix @ images @ matrix.T


@functools.lru_cache(maxsize=256)
def make_zoom(size: int, zoom: float) -> Tensor:
    """Make the linear map [S, S] of a line that enlarges its centre, in linear interpolation."""
    from scipy.ndimage import zoom as enlarge

    kept = math.ceil(size / zoom)
    first = (size - kept) // 2
    whole = enlarge(np.eye(size)[first : first + kept], (zoom, 1), order=1)
    trimmed = (len(whole) - size) // 2
    return torch.from_numpy(whole[trimmed : trimmed + size]).float()


@functools.lru_cache(maxsize=256)
def make_gaussian(size: int, sigma: float, truncate: float = 4.0, border: str = "nearest") -> Tensor:
    """Make the linear map [S, S] of a line that blurs it by a Gaussian, with a border of SciPy's name."""
    from scipy.ndimage import gaussian_filter1d

    blurred = gaussian_filter1d(np.eye(size), sigma, axis=0, truncate=truncate, mode=border)
    return torch.from_numpy(blurred).float()
