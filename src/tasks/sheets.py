"""Contact sheets: photos with their true and their found boxes, masks, labels and classes."""

import colorsys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torchvision.transforms.v2.functional import pil_to_tensor
from torchvision.utils import draw_bounding_boxes, make_grid

from ..data.coco.check import select_segmentation
from ..data.coco.index import CocoIndex
from ..data.coco.masks import decode_masks
from ..data.coco.objects import select_learnable
from ..data.photos.reader import read_photo

Result = Mapping[str, Any]  # an object in COCO's format of results
PICTURES = 6
HEIGHT = 384  # of a photo in the sheet [pixels]
CERTAIN = 0.5  # the lowest score that is drawn
MARKS = {"right": "#00664b", "missed": "#0b5cad", "false": "#b3261e"}  # dark enough to be read on white
TILE, ROW, GAP = 104, 10, 12  # side of a picture of a guess and space between two [pixels], pictures a row
LINE, LETTER = 18, 8  # height of a line of text, and about the width of a letter [pixels]


def choose_images(presence: Tensor) -> list[int]:
    """Choose the images of a sheet: the first ones with an object or label; presence: bool [N, C]."""
    return torch.nonzero(presence.any(dim=1)).flatten()[:PICTURES].tolist()


def draw_contact_sheet(index: CocoIndex, results: Sequence[Result], images: Sequence[int], *, masks: bool) -> Tensor:
    """Draw pairs of photos, two a row, with the true objects to the left and the found ones to the right.

    ``results`` are in COCO's format, of any images; crowds are not drawn. Returns uint8 [3, H, W].
    """
    number = {k: label for label, k in enumerate(index.category_ids)}
    found: dict[int, list[Result]] = {index.images[i].id: [] for i in images}
    for result in results:
        if result["image_id"] in found and result["score"] >= CERTAIN:
            found[result["image_id"]].append(result)
    tiles = []
    for i in images:
        record, photo, true = index.images[i], index.load(i), select_learnable(index, i, masks)
        names = [index.classes[a["label"]] for a in true]
        segments = [select_segmentation(a) for a in true] if masks else []
        left = draw_objects(photo, [a["corners"] for a in true], [a["label"] for a in true], names, segments)
        own = sorted(found[record.id], key=lambda result: result["score"])  # the most certain are drawn last, on top
        labels = [number[r["category_id"]] for r in own]
        names = [f"{index.classes[k]} {r['score']:.2f}" for k, r in zip(labels, own, strict=True)]
        segments = [r["segmentation"] for r in own] if masks else []
        right = draw_objects(photo, [to_corners(r["bbox"]) for r in own], labels, names, segments)
        left, right = add_caption(left, "true"), add_caption(right, f"found, with a score from {CERTAIN} on")
        tiles.append(torch.cat([left, torch.full((3, left.shape[1], 4), 255, dtype=torch.uint8), right], dim=2))
    return arrange_tiles(tiles, columns=2)


def draw_label_sheet(
    paths: Sequence[Path], true: Sequence[Collection[str]], found: Sequence[Mapping[str, float]]
) -> Tensor:
    """Draw photos, three a row, each above its right, missed and false labels, as uint8 [3, H, W].

    ``found`` are the labels that were found in each photo, with their scores, the highest first.
    """
    tiles = []
    for path, names, scores in zip(paths, true, found, strict=True):
        marked = {
            "right": [f"{name} {score:.2f}" for name, score in scores.items() if name in names],
            "missed": [name for name in names if name not in scores],
            "false": [f"{name} {score:.2f}" for name, score in scores.items() if name not in names],
        }
        tile = resize_to_height(read_photo(path))
        for mark, labels in marked.items():
            tile = add_caption(tile, f"{mark}: {', '.join(labels) or 'none'}", lines=2, color=MARKS[mark])
        tiles.append(tile)
    return arrange_tiles(tiles, columns=3)


@dataclass(frozen=True)
class Guess:
    """A picture uint8 [C, H, W] with its class, the class that was found, and the confidence in that."""

    picture: Tensor
    true: str
    found: str
    confidence: float

    def draw(self) -> Tensor:
        """Draw the picture above what was found, framed by whether that is right, as uint8 [3, H, W]."""
        right = self.true == self.found
        tile = pad(self.frame(MARKS["right" if right else "false"]), (0, 0, 0, 4), value=255)
        tile = add_caption(tile, f"{self.found}, {self.confidence:.0%}", color=MARKS["right" if right else "false"])
        return add_caption(tile, "" if right else f"true: {self.true}")

    def frame(self, color: str) -> Tensor:
        """Scale the picture up or down to a square of the sheet, in a frame of this colour."""
        picture = self.picture.expand(3, -1, -1)
        sharp = max(picture.shape[1:]) < TILE  # the pixels of a small picture stay squares
        size = (TILE, TILE)
        scaled = (
            interpolate(picture[None], size, mode="nearest")[0]
            if sharp
            else interpolate(picture[None].float(), size, mode="bilinear", antialias=True)[0].round().clamp(0, 255)
        )
        framed = torch.tensor(ImageColor.getrgb(color), dtype=torch.uint8)[:, None, None].repeat(1, TILE, TILE)
        framed[:, 3:-3, 3:-3] = scaled[:, 3:-3, 3:-3].byte()
        return framed


def draw_guess_sheet(rows: Mapping[str, Sequence[Guess]]) -> Tensor:
    """Draw rows of guesses, each under its title, as uint8 [3, H, W]; a row without any is left out."""
    drawn = {title: arrange_tiles([guess.draw() for guess in row], columns=ROW) for title, row in rows.items() if row}
    width = ROW * (TILE + GAP) + GAP
    parts = []
    for title, row in drawn.items():
        parts += [add_caption(torch.full((3, GAP, width), 255, dtype=torch.uint8), title), row]
    return torch.cat([pad(part, (0, max(0, width - part.shape[2])), value=255) for part in parts], dim=1)


def arrange_tiles(tiles: Sequence[Tensor], *, columns: int) -> Tensor:
    """Arrange tiles uint8 [3, H, W] of one height as one picture."""
    width = max(tile.shape[2] for tile in tiles)
    even = [pad(tile, (0, width - tile.shape[2]), value=255) for tile in tiles]
    return make_grid(even, nrow=columns, padding=GAP, pad_value=255)


def add_caption(photo: Tensor, text: str, lines: int = 1, color: str = "black") -> Tensor:
    """Put a text under a photo uint8 [3, H, W]; a text of more lines is cut and ends in "..."."""
    rows = [row for line in text.splitlines() for row in textwrap.wrap(line, max(photo.shape[2] // LETTER, 8))]
    if len(rows) > lines:
        rows[lines - 1 :] = [f"{rows[lines - 1][:-3]}..."]
    strip = Image.new("RGB", (photo.shape[2], LINE * lines + 4), "white")
    ImageDraw.Draw(strip).multiline_text((2, 1), "\n".join(rows), color, ImageFont.load_default(LINE - 4))
    return torch.cat([photo, pil_to_tensor(strip)], dim=1)


def to_corners(box: Sequence[float]) -> list[float]:
    """Convert a box [x, y, width, height] to its corners [x1, y1, x2, y2]."""
    x, y, width, height = box
    return [x, y, x + width, y + height]


def draw_objects(
    photo: Tensor,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    names: Sequence[str],
    segmentations: Sequence[Any],
) -> Tensor:
    """Draw boxes and masks on a photo uint8 [3, H, W] at the sheet's height, in a colour for each label."""
    small = resize_to_height(photo)
    if not boxes:
        return small
    colors = [choose_color(label) for label in labels]
    if segmentations:
        painted = small.clone()
        covered = interpolate(decode_masks(segmentations, *photo.shape[1:])[None], small.shape[1:])[0].bool()
        for mask, color in zip(covered, colors, strict=True):  # of masks that overlap, the last one is seen
            painted[:, mask] = torch.tensor(color, dtype=torch.uint8)[:, None]
        small = small // 2 + painted // 2
    return draw_bounding_boxes(
        small,
        torch.tensor(boxes) * (HEIGHT / photo.shape[1]),
        list(names),
        colors,
        width=2,
        label_colors="white",
        fill_labels=True,
    )


def resize_to_height(photo: Tensor) -> Tensor:
    """Resize a photo uint8 [3, H, W] to the sheet's height."""
    size = (HEIGHT, max(1, round(photo.shape[2] * HEIGHT / photo.shape[1])))
    return interpolate(photo[None].float(), size, mode="bilinear", antialias=True)[0].round().clamp(0, 255).byte()


def choose_color(label: int) -> tuple[int, int, int]:
    """Choose a label's colour, far from those of its neighbours: steps of the golden ratio around the colour circle."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.9, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)
