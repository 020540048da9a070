"""Take resized crops of whole batches, as of photos, and change their light; all is drawn for an epoch at once."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

VIEWS = 2  # the kind of draw, beside those of src/data/resident/augment.py


class Views(NamedTuple):
    """Hold an epoch's resized crops and light, by position in the epoch."""

    boxes: Tensor  # float32 [N, 4]: centre x, centre y, width, height; an image reaches from -1 to 1
    gains: Tensor  # float32 [N], of the contrast
    offsets: Tensor  # float32 [N], of the brightness [deviations]

    def to(self, device: torch.device) -> "Views":
        return Views(*(t.to(device) for t in self))

    def part(self, first: int, count: int) -> "Views":
        return Views(*(t[first : first + count] for t in self))


def draw_views(seed: int, epoch: int, n: int, *, least: float, light: float) -> Views:
    """Draw crops of at least the fraction ``least`` of the area, of sides from 3:4 to 4:3 as Szegedy et al. (2015).

    Gains are uniform in 1 ± light, offsets in ±light.
    """
    entropy = np.random.SeedSequence([seed, epoch], spawn_key=(VIEWS,))
    generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
    areas, ratios, xs, ys, gains, offsets = torch.rand((6, n), generator=generator)
    areas = least + (1 - least) * areas
    ratios = torch.exp((2 * ratios - 1) * math.log(4 / 3))
    widths, heights = (areas * ratios).sqrt().clamp(max=1), (areas / ratios).sqrt().clamp(max=1)
    boxes = torch.stack([(2 * xs - 1) * (1 - widths), (2 * ys - 1) * (1 - heights), widths, heights], dim=1)
    return Views(boxes, 1 + light * (2 * gains - 1), light * (2 * offsets - 1))


def resize_crops(images: Tensor, boxes: Tensor) -> Tensor:
    """Return the crops, resized to the images' own size, float32 [B, S, S, C]; images [B, S, S, C], boxes [B, 4]."""
    x, y, width, height = boxes.unbind(1)
    zero = torch.zeros_like(x)
    theta = torch.stack([width, zero, x, zero, height, y], dim=1).view(-1, 2, 3)
    channels_first = images.permute(0, 3, 1, 2).to(torch.float32)
    grid = affine_grid(theta, list(channels_first.shape), align_corners=False)
    crops = grid_sample(channels_first, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return crops.permute(0, 2, 3, 1).contiguous()


def change_light(images: Tensor, views: Views) -> Tensor:
    """Change contrast and brightness of normalised images [B, C, H, W], in place."""
    return images.mul_(views.gains.view(-1, 1, 1, 1)).add_(views.offsets.view(-1, 1, 1, 1))
