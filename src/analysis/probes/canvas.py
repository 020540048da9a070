"""Draw the figures of probes in the manner of a report's: SVG that suits light and dark pages."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...report.render.plot import Figure, adapt_svg, get_colour, use_style
from .base import Drawn, O, Probe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LINES = ("-", "--", "-.", ":")


def draw_figure(probe: Probe[O], drawn: Sequence[Drawn], options: O, rows: Sequence[Sequence[object]]) -> Figure:
    """Draw what a probe has found; the caption states the options."""
    name = probe.name_files(options)
    with use_style():
        canvas = probe.draw(drawn, options)
        text = io.StringIO()
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    caption = f"{probe.caption} ({' '.join(f'{key}={value}' for key, value in vars(options).items())})"
    return Figure(name, probe.title, caption, adapt_svg(text.getvalue(), name, probe.title), rows)


def make_panels(
    count: int, *, columns: int = 2, width: float = 4.6, height: float = 3.2, **options: object
) -> "tuple[Canvas, list[Axes]]":
    """Make a canvas with so many panels [inches each], in rows of at most so many columns."""
    from matplotlib.figure import Figure as Canvas

    across = min(columns, count)
    down = -(-count // across)
    canvas = Canvas(figsize=(width * across, height * down), layout="constrained")
    panels = list(np.atleast_1d(canvas.subplots(down, across, **options)).flat)  # type: ignore[call-overload]
    for panel in panels[count:]:
        panel.set_visible(False)
    return canvas, panels[:count]


def set_log(panel: "Axes") -> None:
    """Make the vertical axis logarithmic, with plain numbers at 1, 2 and 5 where it spans little, else at powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    panel.set_yscale("log")
    low, high = panel.get_ylim()
    panel.yaxis.set_major_locator(LogLocator(subs=(1,) if high / max(low, 1e-300) > 1e3 else (1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def group_points(drawn: Sequence[Drawn]) -> dict[str, list[Drawn]]:
    """Group by the point of training, in the order of the first of each."""
    groups: dict[str, list[Drawn]] = {}
    for each in drawn:
        groups.setdefault(each.at, []).append(each)
    return groups


def choose_look(label: str, labels: Sequence[str]) -> tuple[str, str]:
    """Return the colour and the line of a network; they repeat after eight and after 32."""
    index = labels.index(label)
    return get_colour(index), LINES[index // 8 % len(LINES)]


def list_labels(drawn: Sequence[Drawn]) -> list[str]:
    """Return the labels of the networks, each once."""
    return list(dict.fromkeys(each.label for each in drawn))
