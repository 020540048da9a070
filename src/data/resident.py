"""The resident loader: padded uint8 images lie on the training device, a whole batch is cropped or warped at once.

Order, crops, flips, angles, zooms and holes of an epoch are a pure function of (seed, epoch), drawn on the CPU for
the whole set; a rank takes its slice of each global batch. Nothing else is sampler state, so a resumed run and
a run on another number of devices see the same global batches.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from src.data.loading import Resumable, shares
from src.data.normalization import affine, normalized


class Draws(NamedTuple):
    """An epoch's chance, by position in the epoch, each [N]."""

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
) -> Draws:
    """All random choices of an epoch over n samples; the order does not depend on the augmentation.

    With ``alternate`` chance decides of a sample's flip in the first epoch alone, and then every second one flips it.
    Angles are uniform in ±rotate [degrees], zooms in 1 ± scale; a hole's corner has so many ``places`` along each axis.
    """
    generator = generator_of(np.random.SeedSequence([seed, epoch]))
    order = torch.randperm(n, generator=generator)
    rows, columns = torch.randint(2 * padding + 1, (2, n), generator=generator)
    flips = torch.randint(2, (n,), generator=generator).bool() & flip
    if flip and alternate:
        own = generator_of(np.random.SeedSequence(seed, spawn_key=(0,)))  # of the run, not of an epoch
        first = torch.randint(2, (n,), generator=own).bool()
        flips = first[order] ^ bool(epoch % 2)
    # a new kind of draw comes last, so that it leaves those of the older presets, and so their runs, as they were
    angles, zooms = torch.rand((2, n), generator=generator) * 2 - 1
    tops, lefts = (torch.rand((2, n), generator=generator) * places).long()
    return Draws(order, rows, columns, flips, rotate * angles, 1 + scale * zooms, tops, lefts)


def generator_of(entropy: np.random.SeedSequence) -> torch.Generator:
    """A generator on the CPU whose random numbers follow from this."""
    return torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))


def padded(images: Tensor, padding: int, *, reflect: bool = False) -> Tensor:
    """Images [N, H, W, C] with a border of zeros, or of their own pixels, mirrored at the outermost ones."""
    p = padding
    if not p:
        return images
    if not reflect:
        return pad(images, (0, 0, p, p, p, p))
    rows, columns = ([*range(p, 0, -1), *range(n), *range(n - 2, n - 2 - p, -1)] for n in images.shape[1:3])
    return images[:, rows][:, :, columns]


def crop_flip(images: Tensor, draws: Draws, size: int) -> Tensor:
    """The drawn windows [B, size, size, C] of contiguous images [N, H, W, C], mirrored where drawn.

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
    """Square images [B, S, S, C], bytes or floats, turned and zoomed about their centres: float32 [B, S, S, C].

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
    """Set a square hole in each of the images [B, C, S, S] to zero, in place; its corner is at tops, lefts [B]."""
    axis = torch.arange(images.shape[-1], device=images.device)
    rows, columns = ((axis >= first[:, None]) & (axis < first[:, None] + side) for first in (tops, lefts))
    images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


class TrainLoader(Resumable):
    """An epoch of augmented micro-batches: (images float32 [B, C, H, W] channels_last, labels int64 [B]).

    ``images`` are padded uint8 [N, H + 2p, W + 2p, C] and lie with ``labels`` on the training device. The
    union of the ranks' and accumulated parts' micro-batches of a step is the global batch, whatever their
    number; the last incomplete batch is dropped. Speaks Lightning's protocol for stateful loaders, so that a
    checkpoint inside an epoch resumes at the right micro-batch.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalization: dict[str, Any],
        *,
        padding: int,
        reflect: bool = False,
        flip: bool,
        alternate: bool = False,
        rotate: float = 0.0,
        scale: float = 0.0,
        hole: int = 0,
        seed: int,
        epoch: int,
        batch_size: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        trained: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(epoch, trained)
        self.images, self.labels, self.normalization = images, labels, normalization
        self.reflect, self.alternate = reflect, alternate
        self.padding, self.flip, self.rotate, self.scale = padding, flip, rotate, scale
        self.hole, self.seed = hole, seed
        self.batch_size, self.accumulate, self.rank, self.world = batch_size, accumulate, rank, world
        self.size = images.shape[1] - 2 * padding

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size * self.accumulate

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        numbers = self.remaining()
        draws = draw_epoch(
            self.seed,
            self.epoch,
            len(self.labels),
            padding=self.padding,
            flip=self.flip,
            alternate=self.alternate,
            rotate=self.rotate,
            scale=self.scale,
            places=self.size - self.hole + 1,
        ).to(self.images.device)  # once an epoch
        scale, shift = affine(self.normalization, self.size, self.images.device)
        mean_image = self._padded_mean_image()
        part = self.batch_size // (self.accumulate * self.world)
        for k in numbers:
            drawn = draws.part((k * self.world + self.rank) * part, part)
            images = self._augmented(self.images, drawn)
            if mean_image is not None:
                same = drawn._replace(order=torch.zeros_like(drawn.order))
                shift = -self._augmented(mean_image, same).flatten(1)
            self._yielded = k + 1
            images = normalized(images, scale, shift)
            if self.hole:
                cut_out(images, drawn.tops, drawn.lefts, self.hole)
            yield images, self.labels[drawn.order]

    def _augmented(self, images: Tensor, draws: Draws) -> Tensor:
        """The drawn images [B, H, W, C]: in their own type, or float32 where they are warped."""
        images = crop_flip(images, draws, self.size)
        return warp(images, draws.angles, draws.zooms) if self.rotate or self.scale else images

    def _padded_mean_image(self) -> Tensor | None:
        """[1, H + 2p, W + 2p, C] for per_pixel_mean: subtracted before padding, so a border of zeros stays one.

        It is cropped, flipped and warped like each sample; all of that is linear, so the subtraction commutes.
        """
        if self.normalization["name"] != "per_pixel_mean":
            return None
        mean_image = self.normalization["mean_image"].to(self.images.device)
        return padded(mean_image[None], self.padding, reflect=self.reflect).contiguous()


class EvalLoader:
    """A split in its own order: (images float32 [B, C, H, W] channels_last, labels, indices int64 [B]).

    Each global batch is divided among the ranks without padding: no sample is seen twice, and a rank skips
    the batches of which it gets nothing. ``images`` are uint8 [N, H, W, C], views of padded ones too.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalization: dict[str, Any],
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images, self.labels, self.normalization = images, labels, normalization
        self.slices = shares(len(labels), batch_size, rank=rank, world=world)

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        scale, shift = affine(self.normalization, self.images.shape[1], self.images.device)
        for a, b in self.slices:
            images = normalized(self.images[a:b], scale, shift)
            yield images, self.labels[a:b], torch.arange(a, b, device=self.labels.device)
