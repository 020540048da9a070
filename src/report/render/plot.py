"""Draw figures as SVG whose colours are CSS variables, so that one file suits light and dark pages.

matplotlib knows no variables, so it draws in placeholder colours that no figure would use, and these are replaced
afterwards.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ...text import natural_sort_key
from ..result import make_legible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which people with any colour vision can distinguish; lighter where the page is dark.
LIGHT = ("#0072b2", "#d55e00", "#007a5a", "#a8508a", "#b07d00", "#2b8fc4", "#555555", "#7a5230")


DARK = ("#56b4e9", "#ff9a4d", "#35c79c", "#e39ac6", "#f0c846", "#9ad0f5", "#b8b8b8", "#d0a378")


SERIES = tuple(f"#fe01{i:02x}" for i in range(len(LIGHT)))


INK, SOFT, GRID, PAPER = "#fe0200", "#fe0201", "#fe0202", "#fe0203"


VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    PAPER: "--paper",
    **{placeholder: f"--c{i}" for i, placeholder in enumerate(SERIES)},
}


MARKERS = "osD^vPX*"


WIDTH, HEIGHT = 4.6, 3.2  # inches; one column of a phone


LABEL = 46  # characters of a label before it is cut


def write_theme() -> str:
    """Write the variables of the light and the dark theme as CSS, for the page and for a figure in its own file."""

    def write_block(colours: Sequence[str], ink: str, soft: str, grid: str, paper: str) -> str:
        series = "".join(f"--c{i}:{colour};" for i, colour in enumerate(colours))
        return f":root{{--ink:{ink};--soft:{soft};--grid:{grid};--paper:{paper};{series}}}"

    light = write_block(LIGHT, "#1b1f24", "#59636e", "#d9dee3", "#ffffff")
    dark = write_block(DARK, "#e8eaed", "#a3abb5", "#3a4149", "#14171a")
    return f"{light}@media(prefers-color-scheme:dark){{{dark}}}"


@dataclass(frozen=True)
class Figure:
    """A drawing with its title, its caption and the numbers in it."""

    name: str
    title: str
    caption: str
    svg: str
    rows: Sequence[Sequence[object]]

    @property
    def standalone(self) -> str:
        """The SVG as a file of its own, with the colours of both themes."""
        style = f"{write_theme()}svg{{background:var(--paper)}}text{{font-family:system-ui,sans-serif!important}}"
        head, tag, rest = self.svg.partition(">")
        return f'<?xml version="1.0" encoding="utf-8"?>\n{head}{tag}<style>{style}</style>{rest}'


def draw_figure(
    name: str,
    title: str,
    caption: str,
    rows: Sequence[Sequence[object]],
    paint: Callable[["Axes"], None],
    *,
    height: float = HEIGHT,
    labels: int = 0,
) -> Figure:
    """Draw a figure of one panel: `paint` draws on the axes, and `labels` is the number of entries in the legend."""
    from matplotlib.figure import Figure as Canvas

    with use_style():
        canvas = Canvas(figsize=(WIDTH, height + 0.19 * labels), layout="constrained")
        axes = canvas.add_subplot()
        paint(axes)
        if labels:
            entries = sorted(
                zip(*axes.get_legend_handles_labels(), strict=True), key=lambda entry: natural_sort_key(entry[1])
            )
            handles, texts = zip(*entries, strict=True)
            canvas.legend(handles, [shorten(text) for text in texts], loc="outside lower left", frameon=False)
        text = io.StringIO()
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Figure(name, title, caption, adapt_svg(text.getvalue(), name, title), rows)


@contextmanager
def use_style() -> Iterator[None]:
    """Set matplotlib's style while a figure is drawn."""
    import matplotlib

    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "report",
            "text.parse_math": False,
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.labelsize": 9,
            "legend.fontsize": 8.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.linewidth": 0.6,
            "lines.linewidth": 1.6,
            "lines.markersize": 5,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": SOFT,
            "grid.color": GRID,
            "xtick.color": SOFT,
            "ytick.color": SOFT,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
        }
    ):
        yield


def adapt_svg(svg: str, name: str, title: str) -> str:
    """Adapt matplotlib's SVG to a page: scalable, with unique ids, a label for screen readers, and theme colours."""
    svg = svg[svg.index("<svg") :]
    head, tag, rest = svg.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box[0] if box else ""} '
    )
    rest = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    rest = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", rest)
    for placeholder, variable in VARIABLES.items():
        rest = rest.replace(placeholder, f"var({variable})")
    return f'{head}role="img" aria-label="{escape(make_legible(title))}"{tag}{rest}'


def shorten(text: str, longest: int = LABEL) -> str:
    """Shorten a label by its middle, for what distinguishes labels stands at either end."""
    text = make_legible(text)
    tail = longest // 2
    return text if len(text) <= longest else f"{text[: longest - tail - 1]}…{text[-tail:]}"


def get_colour(index: int) -> str:
    """Return the placeholder colour of a series; they repeat after eight."""
    return SERIES[index % len(SERIES)]


def get_marker(index: int) -> str:
    """Return matplotlib's marker for a series; they repeat after eight."""
    return MARKERS[index % len(MARKERS)]
