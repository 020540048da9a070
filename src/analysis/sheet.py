"""Lay out a page of tables, pictures and figures as one HTML file that needs nothing else.

It looks like a report (src/report/render/page.py): its style, its figures and its sortable tables. sheet.html.j2 holds
the markup, and jinja escapes every value there.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..errors import UserError
from ..files import explain_os_error, write_atomic, write_rows
from ..report.render import page
from ..report.render.plot import Figure, write_theme

if TYPE_CHECKING:
    import numpy as np

SIDE = 96  # of a shown picture [CSS pixels]; smaller ones are enlarged in whole pixels


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and what it sorts by where that is a number."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A sortable table; ``heads`` of text columns are named in ``words``."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with the lines below it and a text for screen readers."""

    source: str
    lines: Sequence[str]
    alternative: str


@dataclass(frozen=True)
class Row:
    """Pictures that belong together, with a title: a pair, a group, a list."""

    pictures: Sequence[Picture]
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page: what it is about, then a table, rows of pictures and figures as far as there are any."""

    title: str
    lead: Sequence[str] = ()
    table: Table | None = None
    rows: Sequence[Row] = ()
    figures: Sequence[Figure] = ()
    files: Sequence[str] = field(default=())  # beside the page


def make_picture(pixels: "np.ndarray", lines: Sequence[str], alternative: str = "") -> Picture:
    """Make a picture of uint8 pixels [H, W, C] or [H, W]."""
    from PIL import Image

    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    packed = io.BytesIO()
    image = Image.fromarray(pixels)
    image.thumbnail((2 * SIDE, 2 * SIDE))
    image.save(packed, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"
    return Picture(source, lines, alternative or ", ".join(lines))


def render_sheet(eyebrow: str, headline: Sequence[str], sections: Sequence[Section], notes: Sequence[str] = ()) -> str:
    """Render a page as HTML: the first sentence of the headline is its title."""
    template = load_environment().get_template("sheet.html.j2")
    return template.render(
        eyebrow=eyebrow, headline=headline, sections=sections, notes=notes, theme=write_theme(), side=SIDE
    )


def write_sheet(path: Path, html: str) -> None:
    """Write a page atomically, and its folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, html.encode())


def write_sheet_with_tables(out: Path, html: str, tables: Mapping[str, Sequence[Sequence[object]]]) -> Path:
    """Write a page and the CSV files beside it; return the page's path. Raises UserError where that is impossible."""
    try:
        write_sheet(out / "index.html", html)
        for name, rows in tables.items():
            write_rows(out / name, rows)
    except OSError as error:
        raise UserError(f"out={out}: {explain_os_error(error)}") from None
    return out / "index.html"


@cache
def load_environment() -> Environment:
    """Load the jinja environment of this room and of the report's pages."""
    folders = [Path(__file__).parent, Path(page.__file__).parent]
    return Environment(
        loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined, finalize=page.clean_value
    )
