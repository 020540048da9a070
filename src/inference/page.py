"""Show predictions as one HTML file with thumbnails, the least certain first; it needs no network and no other file."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from ..data.photos.reader import open_image, read_photo
from ..tasks.sheets import draw_objects
from .network import Predictor
from .records import Log, Record, choose_shown, write_text
from .sources import Images, Item

MOST_TILES = {"objects": 120, "class": 400, "labels": 400}
THUMBNAIL = 192  # the longer side [pixels]
TINY = 64  # from where on a thumbnail is drawn larger than it is [pixels]
CERTAIN = 0.5  # the lowest score of an object that is drawn
MOST_ROWS = 100  # of tables
OTHER_CLASSES = 2  # told below the first one


@dataclass(frozen=True)
class Tile:
    """A picture of the page and what was predicted of it."""

    name: str
    picture: str  # a data: address; "" where it cannot be read any more
    tiny: bool
    answer: str
    confidence: float | None
    lines: Sequence[str]


def write_page(
    folder: Path, log: Log, images: Images, predictor: Predictor, *, title: str, sentences: Sequence[str], kind: str
) -> None:
    """Write page.html: a count of what was found, thumbnails, and what could not be read."""
    places = {item.name: item for item in images.items}
    shown, count = choose_shown(log, MOST_TILES[kind])
    if len(shown) < count:
        half = len(shown) // 2
        sentences = [*sentences, f"Shown are the {half:,} least certain and the {half:,} most certain images."]
    tiles = [make_tile(record, images, places[record["image"]], kind, predictor) for record in shown]
    counts = count_answers(log, kind)
    unreadable = [(record["image"], record["error"]) for record in log if "error" in record][:MOST_ROWS]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    text = environment.get_template("page.html.j2").render(
        title=title,
        sentences=sentences,
        counts=counts,
        tiles=tiles,
        unreadable=unreadable,
        width="min(100%,20rem)" if kind == "objects" else "9.5rem",
        foot=f"{predictor.config.model.name} on {predictor.config.data.name}; {predictor.path}",
    )
    with write_text(folder / "page.html") as file:
        file.write(text)


def count_answers(log: Log, kind: str) -> list[tuple[str, int]]:
    """Count how often each class was found, the most frequent first."""
    counted: Counter[str] = Counter()
    for record in log:
        if "error" in record:
            continue
        if kind == "objects":
            counted.update(found["class"] for found in record["objects"] if found["score"] >= CERTAIN)
        else:
            counted.update(record["labels"] if kind == "labels" else record["classes"][:1])
    rows = counted.most_common()
    rest = sum(count for _, count in rows[MOST_ROWS:])
    return [*rows[:MOST_ROWS], *([("others", rest)] if rest else [])]


def make_tile(record: Record, images: Images, item: Item, kind: str, predictor: Predictor) -> Tile:
    """Make the tile of an image; its file is read again, for only the shown ones have a picture."""
    try:
        with images.open(item) as path:
            picture = draw(record, path, predictor.classes) if kind == "objects" else shrink(path)
    except Exception:  # gone or changed meanwhile; what was predicted of it still stands
        picture = None
    address = encode(picture) if picture else ""
    tiny = picture is not None and max(picture.size) <= TINY
    if kind == "objects":
        found = [one for one in record["objects"] if one["score"] >= CERTAIN]
        answer = f"{len(found)} object{'s' * (len(found) != 1)}"
        lines = [f"{one['class']} {one['score']:.2f}" for one in found[:5]]
        return Tile(record["image"], address, tiny, answer, None, lines)
    pairs = list(zip(record["classes"], record["probabilities"], strict=True))
    ranked = [f"{name} {value:.3f}" for name, value in pairs]
    if kind == "labels":
        answer = ", ".join(record["labels"]) or "none"
        return Tile(record["image"], address, tiny, answer, pairs[0][1], ranked[: 1 + OTHER_CLASSES])
    return Tile(record["image"], address, tiny, ranked[0], pairs[0][1], ranked[1 : 1 + OTHER_CLASSES])


def shrink(path: Path) -> Image.Image:
    """Return an image, upright, of at most ``THUMBNAIL`` pixels a side."""
    image = open_image(path, "RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image


def draw(record: Record, path: Path, classes: Sequence[str]) -> Image.Image:
    """Return a photo with the boxes and masks of the objects that are certain enough; the most certain on top."""
    number = {name: k for k, name in enumerate(classes)}
    certain = [found for found in record["objects"] if found["score"] >= CERTAIN]
    found = sorted(certain, key=lambda one: float(one["score"]))
    corners = [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in found)]
    names = [f"{one['class']} {one['score']:.2f}" for one in found]
    segments = [one["segmentation"] for one in found if "segmentation" in one]
    drawn = draw_objects(read_photo(path), corners, [number[one["class"]] for one in found], names, segments)
    picture: Image.Image = to_pil_image(drawn)
    return picture


def encode(picture: Image.Image) -> str:
    """Return a picture as a data: address; a tiny one without loss."""
    tiny = max(picture.size) <= TINY
    packed = io.BytesIO()
    picture.save(packed, "PNG" if tiny else "JPEG", quality=82)
    return f"data:image/{'png' if tiny else 'jpeg'};base64,{base64.b64encode(packed.getvalue()).decode()}"
