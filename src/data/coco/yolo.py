"""Read YOLO's annotations: a text file a picture, a line an object: its class's number and fractions of the picture.

Five numbers are a box (class, centre x, centre y, width, height), more are a polygon. A picture's labels lie beside it,
or in ``labels`` where the picture lies in ``images``. The names of the classes are those of data.yaml or classes.txt.
"""

import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ...errors import UserError
from ...files import check_yaml, explain_os_error
from .boxes import Box, Drawing, find_split, index_pictures, read_size

NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "labels.txt")
SLACK = 0.01  # by which a fraction may be outside of [0, 1]: annotators round


def find_labels(top: Path, picture: str) -> Path | None:
    """Return the label file of a picture, or None where it has none."""
    path = PurePosixPath(picture).with_suffix(".txt")
    parts = list(path.parts)
    places = [path]
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        places.insert(0, PurePosixPath(*parts[:last], "labels", *parts[last + 1 :]))
    return next((top / place for place in places if (top / place).is_file()), None)


def read_names(top: Path) -> list[str] | None:
    """Return the names of the classes, or None where no file has them. Raises UserError for a damaged one."""
    for name in NAMES:
        path = top / name
        if not path.is_file():
            continue
        if path.suffix not in (".yaml", ".yml"):
            return [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
        import yaml

        try:
            content = yaml.safe_load(check_yaml(path).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: is no YAML file ({' '.join(str(error).split())[:100]})") from None
        except OSError as error:
            raise UserError(explain_os_error(error, path)) from None
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, dict) and all(isinstance(key, int) for key in names):
            names = [names.get(k, f"class {k}") for k in range(max(names, default=-1) + 1)]
        if not isinstance(names, list) or not names:
            raise UserError(f"{path}: has no list of names, which YOLO's format needs")
        return [str(one) for one in names]
    return None


def read_yolo(top: Path) -> tuple[list[Drawing], list[str] | None]:
    """Return what the label files say, and the names of the classes. Raises UserError for a wrong line.

    A picture without a label file shows nothing, where its folder has labels of other pictures.
    """
    names = read_names(top)
    drawings = []
    for picture in sorted(name for found in index_pictures(top).values() for name in found):
        labels = find_labels(top, picture)
        size = read_size(top / picture)
        boxes = read_lines(labels, size, names) if labels else []
        drawings.append(Drawing(picture, find_split(PurePosixPath(picture)), *size, boxes))
    return drawings, names


def read_lines(path: Path, size: tuple[int, int], names: Sequence[str] | None) -> list[Box]:
    """Return the boxes of a label file, in pixels of a picture of this size."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    boxes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            kind, *values = map(float, line.split())
        except ValueError:
            raise UserError(f"{path}: line {number} holds {line[:40]!r}, not numbers") from None
        wrong = len(values) < 4 or (len(values) > 4 and (len(values) % 2 or len(values) < 6))
        if wrong or kind < 0 or kind != int(kind) or not all(map(math.isfinite, values)):
            raise UserError(f"{path}: line {number}: a class's number and four fractions, or a polygon, are needed")
        if names is not None and kind >= len(names):
            raise UserError(f"{path}: line {number}: class {kind:g}, but there are {len(names)} names")
        if min(values) < -SLACK or max(values) > 1 + SLACK:
            raise UserError(f"{path}: line {number}: {min(values):g} to {max(values):g} are no fractions of a picture")
        label = names[int(kind)] if names is not None else f"class {kind:g}"
        boxes.append(make_box(label, values, size))
    return boxes


def make_box(label: str, values: Sequence[float], size: tuple[int, int]) -> Box:
    """Return a box or polygon in pixels, from fractions of a picture of this size."""
    width, height = size
    if len(values) == 4:
        x, y, w, h = values
        return Box(label, (x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
    xs, ys = [x * width for x in values[::2]], [y * height for y in values[1::2]]
    polygon = [round(value, 3) for point in zip(xs, ys, strict=True) for value in point]
    return Box(label, min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys), polygon=tuple(polygon))
