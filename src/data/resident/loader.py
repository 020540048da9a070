"""Load from padded uint8 images that lie on the training device, and crop or warp a whole batch at once.

Order, crops, flips, angles, zooms and holes of an epoch are a pure function of (seed, epoch), drawn on the CPU for
the whole set; a rank takes its slice of each global batch. Nothing else is sampler state, so a resumed run and
a run on another number of devices see the same global batches.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..info import Normalization
from ..normalization import apply_affine, compute_affine
from ..order import Resumable, slice_batches
from .augment import Draws, crop_flip, cut_out, draw_epoch, pad_images, warp
from .views import Views, change_light, draw_views, resize_crops


class TrainLoader(Resumable):
    """Yield an epoch of augmented micro-batches: (images float32 [B, C, H, W] channels_last, labels int64 [B]).

    ``images`` are padded uint8 [N, H + 2p, W + 2p, C] and lie with ``labels`` on the training device. The
    union of the ranks' and accumulated parts' micro-batches of a step is the global batch, whatever their
    number; the last incomplete batch is dropped. Implements Lightning's protocol for stateful loaders, so that a
    checkpoint inside an epoch resumes at the right micro-batch.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalization: Normalization,
        *,
        padding: int,
        reflect: bool = False,
        flip: bool,
        alternate: bool = False,
        rotate: float = 0.0,
        scale: float = 0.0,
        hole: int = 0,
        least: float = 0.0,
        light: float = 0.0,
        weights: Tensor | None = None,
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
        self.hole, self.least, self.light, self.weights, self.seed = hole, least, light, weights, seed
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
            weights=self.weights,
        ).to(self.images.device)  # once an epoch
        views = self._draw_views()
        scale, shift = compute_affine(self.normalization, self.size, self.images.device)
        mean_image = self._pad_mean_image()
        part = self.batch_size // (self.accumulate * self.world)
        for k in numbers:
            first = (k * self.world + self.rank) * part
            drawn, view = draws.part(first, part), views and views.part(first, part)
            images = self._augment(self.images, drawn, view)
            if mean_image is not None:
                same = drawn._replace(order=torch.zeros_like(drawn.order))
                shift = -self._augment(mean_image, same, view).flatten(1)
            self._yielded = k + 1
            images = apply_affine(images, scale, shift)
            if view and self.light:
                images = change_light(images, view)
            if self.hole:
                cut_out(images, drawn.tops, drawn.lefts, self.hole)
            yield images, self.labels[drawn.order]

    def _draw_views(self) -> Views | None:
        """Draw the epoch's resized crops and light; None for a preset that has neither."""
        if not self.least and not self.light:
            return None
        views = draw_views(self.seed, self.epoch, len(self.labels), least=self.least or 1.0, light=self.light)
        return views.to(self.images.device)

    def _augment(self, images: Tensor, draws: Draws, view: Views | None) -> Tensor:
        """Return the drawn images [B, H, W, C], in their own type, or float32 where they are warped or resized."""
        images = crop_flip(images, draws, self.size)
        if view and self.least:
            images = resize_crops(images, view.boxes)
        return warp(images, draws.angles, draws.zooms) if self.rotate or self.scale else images

    def _pad_mean_image(self) -> Tensor | None:
        """Pad the mean image of per_pixel_mean to [1, H + 2p, W + 2p, C]; return None for another normalisation.

        Images are padded first and the mean is subtracted later, so this border keeps a border of zeros at zero. It is
        cropped, flipped and warped like each sample; all of that is linear, so the subtraction commutes.
        """
        if self.normalization["name"] != "per_pixel_mean":
            return None
        mean_image = self.normalization["mean_image"]
        assert mean_image is not None
        return pad_images(mean_image.to(self.images.device)[None], self.padding, reflect=self.reflect).contiguous()


class EvalLoader:
    """Yield a split in its own order: (images float32 [B, C, H, W] channels_last, labels, indices int64 [B]).

    Each global batch is divided among the ranks without padding: no sample is seen twice, and a rank skips the batches
    of which it gets nothing. ``images`` are uint8 [N, H, W, C] and may be a view of padded ones.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalization: Normalization,
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images, self.labels, self.normalization = images, labels, normalization
        self.slices = slice_batches(len(labels), batch_size, rank=rank, world=world)

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        scale, shift = compute_affine(self.normalization, self.images.shape[1], self.images.device)
        for a, b in self.slices:
            images = apply_affine(self.images[a:b], scale, shift)
            yield images, self.labels[a:b], torch.arange(a, b, device=self.labels.device)
