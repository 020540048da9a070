"""Find pictures that are shown twice: shifted, mirrored, compressed again or brighter, from the pixels alone.

Candidates are alike at 8 x 8 pixels, plain or mirrored. They are confirmed by the correlation of their detail (see
src/report/twins.py, which also allows for enlargement), and, where there is too little of it, as in a sky, by pixels
that hardly differ. In pictures of fewer than 16 pixels a shift is as large as what tells one from another, so that only
pixels that hardly differ count, where they lie.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from tqdm import tqdm

from ..report.twins import SCORE, SHIFT, cut, even_contrast, measure_texture, measure_windows, normalize

LEAST_ALIKE, CANDIDATES = 0.85, 8  # at 8 x 8 pixels, and for each picture
SAME = 0.995  # correlation of the pixels themselves, from which little detail is no excuse
FLAT = 4.0  # grey levels: with less contrast a picture has nothing to be known by
SMALLEST = 16  # side of pictures whose shifted copies are sought [pixels]
BLOCK = 1000  # pictures that are compared at once with all others


@dataclass(frozen=True)
class Pair:
    """Two pictures that show the same, by their numbers, the lower first; the score is 1 for equal pixels."""

    first: int
    second: int
    score: float


def find_duplicates(images: Tensor, *, exact: bool = False) -> list[Pair]:
    """Find the pairs among uint8 pictures [N, 32, 32, C], in the order of their numbers.

    With ``exact`` neither shift nor mirroring is allowed for, as suits pictures that were enlarged to this size.
    """
    pairs = find_alike(images)
    found = []
    for part in tqdm(pairs.split(BLOCK), "confirming duplicates", disable=None, delay=2, leave=False):
        a, b = (images[part[:, side]].permute(0, 3, 1, 2).float() for side in (0, 1))
        for (first, second), score in zip(
            part.tolist(), (score_exactly if exact else score_alike)(a, b).tolist(), strict=True
        ):
            if score >= SCORE:
                found.append(Pair(first, second, min(score, 1.0)))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def find_alike(images: Tensor) -> Tensor:
    """Find the candidates [P, 2]: each picture with those most like it at 8 x 8 pixels."""
    known = torch.cat([shrink(part) for part in images.split(5000)])
    mirrored = torch.cat([shrink(part.flip(2)) for part in images.split(5000)])
    count, pairs = min(CANDIDATES, len(images) - 1), []
    for start in tqdm(range(0, len(images), BLOCK), "seeking duplicates", disable=None, delay=2, leave=False):
        alike = torch.maximum(known[start : start + BLOCK] @ known.T, mirrored[start : start + BLOCK] @ known.T)
        own = torch.arange(len(alike))
        alike[own, own + start] = -1
        values, places = alike.topk(count, dim=1)
        rows, columns = torch.nonzero(values >= LEAST_ALIKE, as_tuple=True)
        pairs.append(torch.stack([rows + start, places[rows, columns]], dim=1).sort(dim=1).values)
    return torch.cat(pairs).unique(dim=0) if pairs else torch.empty((0, 2), dtype=torch.int64)


def shrink(images: Tensor) -> Tensor:
    """Shrink pictures [N, 32, 32, C] to unit vectors of their 8 x 8 colours, or 0 where they are flat."""
    small = avg_pool2d(images.permute(0, 3, 1, 2).float(), images.shape[1] // 8)
    return normalize(small) * (small.flatten(1).std(dim=1, keepdim=True) >= FLAT)


def score_alike(a: Tensor, b: Tensor) -> Tensor:
    """Score pairs of pictures float32 [P, C, 32, 32] over mirroring and shifts: 1 for the same picture, [P]."""
    texture = torch.minimum(measure_texture(a), measure_texture(b)) ** 0.25
    detail = match(even_contrast(a), even_contrast(b)) * texture
    plain = match(a, b)
    return torch.where(plain >= SAME, torch.maximum(plain, detail), detail)


def score_exactly(a: Tensor, b: Tensor) -> Tensor:
    """Score pairs of pictures float32 [P, C, 32, 32] as they lie: their correlation from SAME on, else 0, [P]."""
    alike = (normalize(a) * normalize(b)).sum(dim=1)
    return alike * (alike >= SAME)


def match(a: Tensor, b: Tensor) -> Tensor:
    """Return the highest correlation of the centres of ``a`` with the windows of ``b``, over mirroring, [P]."""
    centres = torch.stack([normalize(cut(image, SHIFT, SHIFT)) for image in (a, a.flip(-1))], dim=1)
    lengths, best = measure_windows(b), torch.full((len(a),), -1.0)
    for down, right in product(range(2 * SHIFT + 1), repeat=2):
        alike = (centres @ cut(b, down, right).flatten(1)[:, :, None])[..., 0].amax(dim=1)
        best = torch.maximum(best, alike / lengths[:, down, right])
    return best


def find_equal(digests: Sequence[str], is_known: Callable[[int, int], bool]) -> list[Pair]:
    """Find pictures of equal bytes, as pairs with the first of them, except those known already."""
    first: dict[str, int] = {}
    found = []
    for number, digest in enumerate(digests):
        if (earlier := first.setdefault(digest, number)) != number and not is_known(earlier, number):
            found.append(Pair(earlier, number, 1.0))
    return found
