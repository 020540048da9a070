"""Crop, flip, warp and cut out whole batches on the device, and draw an epoch's random numbers."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad


class Draws(NamedTuple):
    """Hold an epoch's random draws, by position in the epoch, each [N]."""

    order: Tensor  # int64, which sample
    rows: Tensor  # int64, 0 .. 2 * padding
    columns: Tensor  # int64, 0 .. 2 * padding
    flips: Tensor  # bool
    angles: Tensor  # float32, clockwise [degrees]
    zooms: Tensor  # float32, above 1 enlarges
    tops: Tensor  # int64, the hole's first row
    lefts: Tensor  # int64, the hole's first column

    def to(self, device: torch.device) -> "Draws":
        return Draws(*(t.to(device) for t in self))

    def part(self, first: int, count: int) -> "Draws":
        return Draws(*(t[first : first + count] for t in self))


def draw_epoch(
    seed: int,
    epoch: int,
    n: int,
    *,
    padding: int = 0,
    flip: bool = False,
    alternate: bool = False,
    rotate: float = 0.0,
    scale: float = 0.0,
    places: int = 1,
    weights: Tensor | None = None,
) -> Draws:
    """Draw all random choices of an epoch over n samples; the order does not depend on the augmentation.

    With ``alternate`` a sample's flip is random in the first epoch only, and then every second epoch flips it. Angles
    are uniform in ±rotate [degrees], zooms in 1 ± scale; a hole's corner has ``places`` positions along each axis.
    ``weights`` [n] say how often each sample is drawn, with replacement; without them each is drawn once.
    """
    generator = make_generator(np.random.SeedSequence([seed, epoch]))
    order = torch.randperm(n, generator=generator)
    if weights is not None:
        order = torch.multinomial(weights, n, replacement=True, generator=generator)
    rows, columns = torch.randint(2 * padding + 1, (2, n), generator=generator)
    flips = torch.randint(2, (n,), generator=generator).bool() & flip
    if flip and alternate:
        of_run = make_generator(np.random.SeedSequence(seed, spawn_key=(0,)))  # not of an epoch
        first = torch.randint(2, (n,), generator=of_run).bool()
        flips = first[order] ^ bool(epoch % 2)
    # a new kind of draw comes last, so that it leaves those of the older presets, and so their runs, as they were
    angles, zooms = torch.rand((2, n), generator=generator) * 2 - 1
    tops, lefts = (torch.rand((2, n), generator=generator) * places).long()
    return Draws(order, rows, columns, flips, rotate * angles, 1 + scale * zooms, tops, lefts)


def make_generator(entropy: np.random.SeedSequence) -> torch.Generator:
    """Make a generator on the CPU, seeded from ``entropy``."""
    return torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))


def pad_images(images: Tensor, padding: int, *, reflect: bool = False) -> Tensor:
    """Pad images [N, H, W, C] with zeros, or with their own pixels, mirrored at the outermost ones."""
    p = padding
    if not p:
        return images
    if not reflect:
        return pad(images, (0, 0, p, p, p, p))
    rows, columns = ([*range(p, 0, -1), *range(n), *range(n - 2, n - 2 - p, -1)] for n in images.shape[1:3])
    return images[:, rows][:, :, columns]


def crop_flip(images: Tensor, draws: Draws, size: int) -> Tensor:
    """Return the drawn windows [B, size, size, C] of contiguous images [N, H, W, C], mirrored where drawn.

    A line of a window is a run of size * C numbers in memory, so that one index_select copies all lines
    of all windows; that is three times as fast as indexing single pixels.
    """
    n, height, width, channels = images.shape
    count, device = len(draws.order), images.device
    runs = images.view(-1).as_strided((n * height * width - size + 1, size * channels), (channels, 1))
    corners = (draws.order * height + draws.rows) * width + draws.columns
    lines = corners[:, None] + torch.arange(size, device=device) * width
    windows = runs.index_select(0, lines.flatten()).view(count, size, size, channels)
    # choosing from both versions beats torch.where, which is slow on bytes, and needs no host synchronisation
    both = torch.cat([windows, windows.flip(2)])
    return both.index_select(0, torch.arange(count, device=device) + count * draws.flips)


def warp(images: Tensor, angles: Tensor, zooms: Tensor) -> Tensor:
    """Rotate and zoom square images [B, S, S, C], bytes or floats, about their centres; return float32 [B, S, S, C].

    Angles [B] are clockwise, in degrees; zooms [B] above 1 enlarge. Bilinear; the border's pixels are repeated.
    """
    size = images.shape[1]
    axis = (2 * torch.arange(size, device=images.device) + 1) / size - 1  # the pixels' centres, in -1 .. 1
    x, y = axis, axis[:, None]
    turn = angles.deg2rad()
    cos, sin = (turn.cos() / zooms)[:, None, None], (turn.sin() / zooms)[:, None, None]
    # where each pixel comes from, hence the inverse map; affine_grid's matrix product may be rounded to TF32 on a GPU
    grid = torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)
    channels_first = images.permute(0, 3, 1, 2).to(torch.float32)
    warped = grid_sample(channels_first, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.permute(0, 2, 3, 1).contiguous()


def cut_out(images: Tensor, tops: Tensor, lefts: Tensor, side: int) -> None:
    """Set a square in each of the images [B, C, S, S] to zero, in place; its corner is at tops, lefts [B]."""
    axis = torch.arange(images.shape[-1], device=images.device)
    rows, columns = ((axis >= first[:, None]) & (axis < first[:, None] + side) for first in (tops, lefts))
    images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
