"""The corruptions by weather and by processing; images are in [0, 1], float32 [B, C, S, S], strengths from 1 to 5."""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .corruptions_blur import blur_along, filter_both, make_gaussian, make_zoom

GREY = (0.299, 0.587, 0.114)  # how red, green and blue add up to brightness
ICE = (0.86, 0.94, 1.0)  # the colour of frost

LUMINANCE = (  # the quantisation tables of the JPEG standard's annex K
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


def add_snow(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Whiten the image, and let flakes of noise fall over it."""
    mean, deviation, zoom, least, radius, sigma, kept = (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    )[strength - 1]
    count, _, size, _ = images.shape
    flakes = torch.randn((count, 1, size, size), generator=generator, device=images.device) * deviation + mean
    flakes = filter_both(flakes, make_zoom(size, zoom))
    flakes = flakes.masked_fill(flakes < least, 0).clamp(0, 1).mul(255).floor() / 255
    angles = torch.randint(-135, -44, (count,), generator=generator, device=images.device)
    flakes = blur_along(flakes, angles, radius, sigma)
    whitened = torch.maximum(images, measure_brightness(images) * 1.5 + 0.5)
    return kept * images + (1 - kept) * whitened + flakes + flakes.flip((-2, -1))


def measure_brightness(images: Tensor) -> Tensor:
    """Return the brightness of each pixel, [B, 1, S, S]."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def add_frost(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Lay ice on the image: ridges of noise at five scales, white and a little blue, in place of photos of frost."""
    kept, added = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[strength - 1]
    count, channels, size, _ = images.shape
    ice = torch.zeros((count, 1, size, size), device=images.device)
    for octave in range(5):
        cells = min(size, 2 ** (octave + 1) + 1)
        noise = torch.randn((count, 1, cells, cells), generator=generator, device=images.device)
        noise = F.interpolate(noise, (size, size), mode="bilinear", align_corners=True)
        ice += (1 - 2 * noise.abs()).clamp(min=0) * 0.8**octave
    ice /= ice.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    colour = torch.tensor(ICE if channels == 3 else ICE[1:2], device=images.device)
    return kept * images + added * ice * colour.view(1, -1, 1, 1)


def add_fog(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Add clouds, and keep the brightest value of the image where it was."""
    thickness, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[strength - 1]
    size = images.shape[-1]
    clouds = make_clouds(len(images), 2 ** math.ceil(math.log2(max(size, 2))), decay, generator, images.device)
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    return (images + thickness * clouds[:, None, :size, :size]) * brightest / (brightest + thickness)


def make_clouds(count: int, size: int, decay: float, generator: Generator, device: torch.device) -> Tensor:
    """Make fractal clouds [count, size, size] in [0, 1] by the diamond-square method; ``size`` is a power of two."""
    clouds = torch.zeros((count, size, size), device=device)

    def blend(corners: Tensor, roughness: float) -> Tensor:
        """Average the sum of four neighbours, and add noise."""
        draws = torch.rand(corners.shape, generator=generator, device=device)
        return corners / 4 + roughness**2 * (2 * draws - 1)

    step, roughness = size, 100.0
    while step >= 2:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        clouds[:, half::step, half::step] = blend(pairs + pairs.roll(-1, 2), roughness)
        centres = clouds[:, half::step, half::step]
        beside, below = corners + corners.roll(-1, 2), corners + corners.roll(-1, 1)
        above = blend(beside + centres + centres.roll(1, 1), roughness)
        left = blend(below + centres + centres.roll(1, 2), roughness)
        clouds[:, ::step, half::step], clouds[:, half::step, ::step] = above, left
        step, roughness = half, roughness / decay
    low, high = clouds.amin(dim=(1, 2), keepdim=True), clouds.amax(dim=(1, 2), keepdim=True)
    return (clouds - low) / (high - low)


def change_brightness(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Raise the value of each pixel's colour (the V of HSV); hue and saturation stay, so its three numbers scale."""
    added = (0.05, 0.1, 0.15, 0.2, 0.3)[strength - 1]
    value = images.amax(dim=1, keepdim=True)
    raised = (value + added).clamp(max=1)
    return torch.where(value > 0, images * (raised / value.clamp(min=1e-6)), raised)


def lower_contrast(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Draw each channel towards its mean."""
    kept = (0.75, 0.5, 0.4, 0.3, 0.15)[strength - 1]
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (images - mean) * kept + mean


def warp_elastically(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Move three points of the image at random, and then each pixel by a smooth field."""
    amplitude, smoothness, affine = (
        (0.0, 0.0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    )[strength - 1]
    count, _, size, _ = images.shape
    device = images.device
    centre, reach = size // 2, size // 3
    points = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], device=device) * reach + centre
    moved = points + (torch.rand((count, 3, 2), generator=generator, device=device) * 2 - 1) * affine * size
    images = warp(images, find_sources(points, moved, size), align=True)
    draws = torch.rand((count, 2, size, size), generator=generator, device=device) * 2 - 1
    if amplitude:
        blurred = filter_both(draws, make_gaussian(size, smoothness * size, 3.0, "reflect"))
        images = warp(images, make_grid(size, device) + blurred.movedim(1, -1) * amplitude * size, align=False)
    return images


def make_grid(size: int, device: torch.device) -> Tensor:
    """Make the places (x, y) of all pixels, [S, S, 2]."""
    line = torch.arange(size, dtype=torch.float32, device=device)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)


def find_sources(points: Tensor, moved: Tensor, size: int) -> Tensor:
    """Find each pixel's source under the affine map of ``points`` [3, 2] to ``moved`` [B, 3, 2], [B, S, S, 2]."""
    ones = torch.ones_like(moved[..., :1])
    back = torch.linalg.solve(torch.cat([moved, ones], dim=-1), points.expand(len(moved), -1, -1))  # [B, 3, 2]
    grid = make_grid(size, points.device)
    return torch.cat([grid, torch.ones_like(grid[..., :1])], dim=-1) @ back[:, None]


def warp(images: Tensor, sources: Tensor, *, align: bool) -> Tensor:
    """Fetch each pixel from its source (x, y) [B, S, S, 2], in linear interpolation.

    The border is mirrored at the outermost pixels' centres where ``align``, else at their outer edges.
    """
    size = images.shape[-1]
    places = sources / (size - 1) * 2 - 1 if align else (sources * 2 + 1) / size - 1
    return F.grid_sample(images, places, mode="bilinear", padding_mode="reflection", align_corners=align)


def pixelate(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Shrink the image and enlarge it again without smoothing, in whole grey levels as Pillow does."""
    fraction = (0.95, 0.9, 0.85, 0.75, 0.65)[strength - 1]
    size = images.shape[-1]
    levels = images * 255
    for matrix in (make_box(size, max(1, int(size * fraction))), make_box(max(1, int(size * fraction)), size)):
        matrix = matrix.to(images.device)
        levels = round_half_up(levels @ matrix.T)
        levels = round_half_up(matrix @ levels)
    return levels / 255


def round_half_up(levels: Tensor) -> Tensor:
    """Round to whole grey levels; a half goes up, up to what float32 adds."""
    return (levels + 0.5 + 1e-4).floor()


@functools.lru_cache(maxsize=64)
def make_box(size: int, new: int) -> Tensor:
    """Make the linear map [new, size] of a line that resizes it as Pillow's box filter does."""
    ratio = size / new
    spread = max(1.0, ratio)
    matrix = np.zeros((new, size))
    for i in range(new):
        centre = (i + 0.5) * ratio
        first, last = int(centre - spread / 2 + 0.5), min(int(centre + spread / 2 + 0.5), size)
        places = (np.arange(max(first, 0), last) - centre + 0.5) / spread
        weights = (places > -0.5) & (places <= 0.5)
        matrix[i, max(first, 0) : last] = weights / max(1, weights.sum())
    return torch.from_numpy(matrix).float()


def compress_as_jpeg(images: Tensor, strength: int, generator: Generator) -> Tensor:
    """Encode and decode as a JPEG with chroma of half the resolution: the transform and the rounding, not the bits."""
    quality = (80, 65, 58, 50, 40)[strength - 1]
    levels = (images * 255).round()
    if images.shape[1] == 1:
        return quantise_blocks(levels, LUMINANCE, quality) / 255
    weights = torch.tensor(
        [GREY, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)], dtype=torch.float32, device=images.device
    )
    bright, *chroma = (torch.einsum("kc,bcij->bkij", weights, levels)).round().split(1, dim=1)
    size = images.shape[-1]
    coarse = 4 * F.avg_pool2d(F.pad(torch.cat(chroma, dim=1) + 128, (0, size % 2) * 2, mode="replicate"), 2)
    rounding = 1 + torch.arange(coarse.shape[-1], device=images.device) % 2  # libjpeg's, which alternates
    coarse = quantise_blocks(((coarse + rounding) / 4 + 1e-4).floor(), CHROMINANCE, quality) - 128
    blue, red = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :size, :size].unbind(1)
    bright = quantise_blocks(bright, LUMINANCE, quality)[:, 0]
    colours = (bright + 1.402 * red, bright - 0.344136 * blue - 0.714136 * red, bright + 1.772 * blue)
    return torch.stack(colours, dim=1) / 255


def quantise_blocks(levels: Tensor, table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """Round the cosine transform of each 8 x 8 block to multiples of the table at this quality, [B, K, S, S]."""
    count, planes, size, _ = levels.shape
    margin = -size % 8
    padded = F.pad(levels - 128, (0, margin, 0, margin), mode="replicate")
    side = size + margin
    blocks = padded.view(count, planes, side // 8, 8, side // 8, 8).transpose(3, 4)
    basis, steps = make_cosines().to(levels.device), make_steps(table, quality).to(levels.device)
    coefficients = (basis @ blocks @ basis.T / steps).round() * steps
    decoded = (basis.T @ coefficients @ basis).transpose(3, 4).reshape(count, planes, side, side)
    return (decoded[..., :size, :size] + 128).round().clamp(0, 255)


@functools.cache
def make_cosines() -> Tensor:
    """Make the orthonormal basis of the cosine transform of 8 values, [8, 8]."""
    k, i = np.mgrid[0:8, 0:8]
    basis = np.cos((2 * i + 1) * k * np.pi / 16) * np.where(k == 0, 1 / math.sqrt(8), 0.5)
    return torch.from_numpy(basis).float()


def make_steps(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """Scale a quantisation table to a quality from 1 to 100, as the reference implementation of JPEG does."""
    factor = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * factor + 50) // 100).clamp(1, 255).float()
