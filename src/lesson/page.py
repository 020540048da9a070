"""Put the lesson together: one HTML file that loads nothing."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..data.sets.digits import load_digits
from ..report.render import page as report
from ..report.render.plot import write_theme
from .figures import Shown, link

TRAINED, SHOWN = 1200, 237  # digits of the page: to learn from, and to be tested with


def pack_digits() -> dict[str, str]:
    """Return the digits in base64: a byte for each pixel, 0 to 16, of all images, then one for each label."""
    raw = load_digits()
    packed = {}
    for name, split, count in (("train", raw.train, TRAINED), ("test", raw.test, SHOWN)):
        pixels = np.rint(split.images[:count].astype(np.float64) * 16 / 255).astype(np.uint8)
        labels = split.labels[:count].astype(np.uint8)
        packed[name] = base64.b64encode(pixels.tobytes() + labels.tobytes()).decode()
    return packed


def render_lesson(shown: Mapping[str, Shown], left_out: Sequence[tuple[Path, str]], out: Path) -> str:
    """Render the page; its links to the runs lead from `out`, the file that it is written to."""
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([here, Path(report.__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=report.clean_value,
        keep_trailing_newline=True,
    )
    return environment.get_template("lesson.html.j2").render(
        shown=shown,
        left_out=[(str(path), reason) for path, reason in left_out],
        digits=pack_digits(),
        theme=write_theme(),
        link=lambda path: link(path, out),
    )
