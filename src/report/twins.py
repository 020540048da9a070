"""Find the test images of CIFAR that show the same picture as a training image, from the pixels alone.

  python -m src.report.twins data=cifar10|cifar100 [root=<folder>] [out=<file.csv>]

The list of CIFAR-10 is part of the project (cifar10_twins.csv, made by this command). That of CIFAR-100 is made where
its images are, in a few minutes, and lies beside them as cifar100_twins.csv, where reports find it.

The criterion: both images lose their blurred version and get an equal contrast everywhere, so that light and colour
cast count little. The score is the highest correlation of the test image's centre with the training image, over
mirroring, shifts of up to 3 pixels and enlargements of up to 1.2. It is lower where there is little texture to compare,
for two ships on a calm sea always look alike. Candidates are the training images that correlate most at 8x8 pixels.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.console import say
from ..cli.main import main, print_help
from ..config.data import Cifar10, Cifar100
from ..data.build import load_raw
from ..errors import UserError
from ..files import write_rows
from .result import read_csv

if TYPE_CHECKING:
    from torch import Tensor

SETS = {"cifar10": Cifar10, "cifar100": Cifar100}


HEAD = ["test", "train", "score", "label"]


CANDIDATES, LEAST_ALIKE = 4, 0.8  # training images for each test image, and their correlation at 8x8 pixels


SCORE = 0.68  # from which two images are twins


SHIFT, ZOOMS = 3, (1.1, 1.2)


FLAT = 8.0  # grey levels; a contrast far below it counts as none


CHUNK = 500  # images at once, to bound the memory


@dataclass(frozen=True)
class Twin:
    """A test image, the training image most like it, their score, and the test image's class."""

    test: int
    train: int
    score: float
    label: int


def read_twins(data: str, root: object) -> list[Twin]:
    """Read the known twins of a data set: the project's list, or one that was made beside the images.

    [] where there is none. UserError for a damaged list.
    """
    if data not in SETS:
        return []
    name = f"{data}_twins.csv"
    places = [Path(__file__).with_name(name), *([Path(root).expanduser() / name] if isinstance(root, str) else [])]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return []
    try:
        head, *lines = read_csv(path)
        if head != HEAD:
            raise ValueError
        return [Twin(int(test), int(train), float(score), int(label)) for test, train, score, label in lines]
    except ValueError:
        raise UserError(
            f"{path}: damaged; delete it, and python -m src.report.twins data={data} makes it anew"
        ) from None


def find_twins(test: "Tensor", train: "Tensor") -> dict[int, tuple[int, float]]:
    """Find each test image's twin among the training images, and their score, by the test image's number.

    test, train: uint8 [N, C, 32, 32].
    """
    best: dict[int, tuple[int, float]] = {}
    for part in find_candidates(test, train).split(CHUNK):
        scores = score_pairs(test[part[:, 0]].float(), train[part[:, 1]].float())
        for (i, j), score in zip(part.tolist(), scores.tolist(), strict=True):
            if score >= max(SCORE, best.get(i, (0, 0.0))[1]):
                best[i] = j, score
    return dict(sorted(best.items()))


def find_candidates(test: "Tensor", train: "Tensor") -> "Tensor":
    """Find pairs [P, 2] of a test and a training image that are alike at 8x8 pixels, plain or mirrored."""
    import torch
    from torch.nn.functional import avg_pool2d

    def shrink(images: "Tensor") -> "Tensor":
        return torch.cat([normalize(avg_pool2d(part.float(), 4)) for part in images.split(5000)])

    known, pairs = shrink(train), []
    for start in range(0, len(test), CHUNK):
        part = test[start : start + CHUNK]
        alike = torch.maximum(shrink(part) @ known.T, shrink(part.flip(-1)) @ known.T)
        values, places = alike.topk(min(CANDIDATES, len(train)), dim=1)
        rows, columns = torch.nonzero(values >= LEAST_ALIKE, as_tuple=True)
        pairs.append(torch.stack([rows + start, places[rows, columns]], dim=1))
    return torch.cat(pairs)


def score_pairs(test: "Tensor", train: "Tensor") -> "Tensor":
    """Score pairs of images float32 [P, C, 32, 32]: near 1 for the same picture, [P]."""
    import torch

    texture = torch.minimum(measure_texture(test), measure_texture(train))
    zooms = [(1.0, 1.0), *((zoom, 1.0) for zoom in ZOOMS), *((1.0, zoom) for zoom in ZOOMS)]
    best = torch.full((len(test),), -1.0)
    for zoom_test, zoom_train in zooms:
        a, b = even_contrast(enlarge(test, zoom_test)), even_contrast(enlarge(train, zoom_train))
        centres = torch.stack([normalize(cut(image, SHIFT, SHIFT)) for image in (a, a.flip(-1))], dim=1)
        lengths = measure_windows(b)
        for down, right in product(range(2 * SHIFT + 1), repeat=2):
            alike = (centres @ cut(b, down, right).flatten(1)[:, :, None])[..., 0].amax(dim=1)
            best = torch.maximum(best, alike / lengths[:, down, right])  # the centres' mean is 0, so the window's drops
    return best * texture**0.25


def measure_windows(images: "Tensor") -> "Tensor":
    """Measure the length of each window that `cut` gives, less its mean, [N, 2 * SHIFT + 1, 2 * SHIFT + 1]."""
    from torch.nn.functional import avg_pool2d

    size = images.shape[-1] - 2 * SHIFT
    mean, square = (avg_pool2d(part.mean(dim=1, keepdim=True), size, 1)[:, 0] for part in (images, images**2))
    return ((square - mean**2).clamp(min=0) * images.shape[1] * size**2).sqrt().clamp(min=1e-6)


def cut(images: "Tensor", down: int, right: int) -> "Tensor":
    """Cut the window out of images that a shift of at most SHIFT leaves whole."""
    size = images.shape[-1] - 2 * SHIFT
    return images[..., down : down + size, right : right + size]


def normalize(images: "Tensor") -> "Tensor":
    """Flatten images to vectors [N, D] with a mean of 0 and a length of 1, or 0 for an image of one colour."""
    flat = images.flatten(1) - images.flatten(1).mean(dim=1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-6)


def blur(images: "Tensor", size: int) -> "Tensor":
    """Average the pixels of a square around each pixel."""
    from torch.nn.functional import avg_pool2d, pad

    return avg_pool2d(pad(images, (size // 2,) * 4, mode="replicate"), size, 1)


def measure_contrast(detail: "Tensor") -> "Tensor":
    """Measure the variance of the detail around each pixel, [N, 1, H, W]."""
    return blur((detail * detail).mean(dim=1, keepdim=True), 9)


def even_contrast(images: "Tensor") -> "Tensor":
    """Take the blurred image away, and divide by the contrast of the surroundings."""
    detail = images - blur(images, 7)
    return detail / (measure_contrast(detail).sqrt() + FLAT)


def measure_texture(images: "Tensor") -> "Tensor":
    """Measure which fraction of each image is textured, in [0, 1], [N]."""
    contrast = measure_contrast(images - blur(images, 7))
    return cut(contrast / (contrast + FLAT**2), SHIFT, SHIFT).mean(dim=(1, 2, 3))


def enlarge(images: "Tensor", zoom: float) -> "Tensor":
    """Enlarge the centre of images to their whole size."""
    from torch.nn.functional import interpolate

    if zoom == 1:
        return images
    whole = images.shape[-1]
    size = round(whole / zoom)
    start = (whole - size) // 2
    centre = images[..., start : start + size, start : start + size]
    return interpolate(centre, size=(whole, whole), mode="bilinear", align_corners=False)


def answer() -> int:
    """Do what the command line asks for and return the exit status."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    options = parse_words(words)
    config = SETS[options["data"]]()
    root = options.get("root", config.root)
    out = Path(options.get("out", Path(root).expanduser() / f"{config.name}_twins.csv"))
    say(f"wrote {make_list(config.name, root, out):,} twins to {out}")
    return 0


def parse_words(words: Sequence[str]) -> dict[str, str]:
    """Return the options of the command line by name; UserError for a word that is none of them."""
    options = dict.fromkeys(("data", "root", "out"), "")
    for word in words:
        name, _, value = word.partition("=")
        if name not in options or not value:
            raise UserError(f"{word}: not understood; python -m src.report.twins takes data=, root=, out=")
        options[name] = value
    if options["data"] not in SETS:
        raise UserError(f"data={options['data']}: twins are sought in 32x32 photos; type data=cifar10 or data=cifar100")
    return {name: value for name, value in options.items() if value}


def make_list(data: str, root: str, out: Path) -> int:
    """Find the twins of a data set below `root`, write them to a CSV file, and return their number."""
    import torch

    raw = load_raw(SETS[data](root=root))
    say(f"comparing {len(raw.test):,} test images with {len(raw.train):,} training images; this takes minutes")
    test, train = (torch.from_numpy(split.images).permute(0, 3, 1, 2) for split in (raw.test, raw.train))
    found = find_twins(test, train)
    rows = [[i, j, f"{score:.3f}", raw.test.labels[i]] for i, (j, score) in found.items()]
    try:
        write_rows(out, [HEAD, *rows])
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror}); type another out=<file.csv>") from None
    return len(rows)


if __name__ == "__main__":
    main(answer)
