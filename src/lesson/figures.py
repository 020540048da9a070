"""Draw the figures of the lesson from runs and from what probes have found in them."""

import io
import os
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..analysis.probes.base import Drawn, Found, Row
from ..analysis.probes.canvas import make_panels
from ..analysis.probes.table import PROBES
from ..errors import UserError
from ..files import read_csv
from ..report.render.plot import adapt_svg, get_colour, use_style
from .cases import Case, choose_comparable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MOST = 6  # networks in a figure
WIDE = 400  # points
WORDS = {"network", "at", "layer", "kind", "block", "other", "behind", "true", "predicted"}  # columns of words
TRAIN = "python -m src.train -m model=plain20,plain56,resnet20,resnet56 data=digits trainer.max_epochs=20"
PROBE = "python -m src.analyze probe={} run=outputs/digits{}"


@dataclass(frozen=True)
class Shown:
    """A figure of the lesson: the picture and what it says, or the command that is missing for it."""

    name: str
    title: str
    svg: str
    says: Sequence[str]
    command: str  # that makes what the figure needs
    cases: Sequence[Case]

    @property
    def wide(self) -> bool:
        """Tell whether a telephone would make the picture's letters too small."""
        box = re.search(r'viewBox="0 0 ([\d.]+)', self.svg)
        return box is not None and float(box[1]) > WIDE


def draw_all(cases: Sequence[Case]) -> dict[str, Shown]:
    """Draw what there are runs for, by name."""
    comparable = choose_comparable(cases)
    makers: Sequence[Callable[[Sequence[Case]], Shown]] = (show_curves, show_depths, show_gradients, show_landscapes)
    probed = sorted(cases, key=lambda case: case not in comparable)
    shown = [make(comparable if make in makers[:2] else probed) for make in makers]
    return {each.name: each for each in shown}


def save(canvas: "Canvas", name: str, title: str) -> str:
    """Return a canvas as SVG for the page; call it in the style that the canvas was drawn in."""
    text = io.StringIO()
    canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return adapt_svg(text.getvalue(), name, title)


def describe_setting(cases: Sequence[Case]) -> str:
    """Say what the runs of a figure share."""
    data, limit, epochs = cases[0].key
    images = "" if limit == "None" else f", {float(limit):,g} training images"
    return f"Data: {data}{images}; {epochs} epoch{'s' * (epochs != '1')}."


def show_curves(cases: Sequence[Case]) -> Shown:
    """Draw error against epochs, the plain networks beside the residual ones."""
    name, title = "degradation", "Training error (dashed) and validation error (solid), by epoch"
    kinds = {kind: pick_depths([case for case in cases if case.kind == kind]) for kind in ("plain", "residual")}
    if not all(kinds.values()):
        return Shown(name, title, "", [], TRAIN, [])

    def paint() -> str:
        from matplotlib.ticker import MaxNLocator

        canvas, panels = make_panels(2, sharey=True)
        for panel, (kind, several) in zip(panels, kinds.items(), strict=True):
            for i, case in enumerate(several):
                for split, look in (("train", "--"), ("val", "-")):
                    points = [(row["epoch"], 100 * (1 - row[f"{split}/accuracy"])) for row in get_rows(case, split)]
                    if points:
                        label = f"{case.depth} layers" if look == "-" else None
                        marker = "." if len(points) < 3 else None
                        panel.plot(*zip(*points, strict=True), look, color=get_colour(i), label=label, marker=marker)
            panel.set(title=kind, xlabel="epoch", ylabel="error %")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.legend(frameon=False)
        return save(canvas, name, title)

    used = [case for several in kinds.values() for case in several]
    with use_style():
        svg = paint()
    says = [compare_depths(several) for several in kinds.values() if len(several) > 1]
    return Shown(name, title, svg, [describe_setting(used), *says], "", used)


def get_rows(case: Case, split: str) -> list[Mapping[str, float]]:
    """Return the epochs of which a run knows the accuracy of a split."""
    return [row for row in case.rows if f"{split}/accuracy" in row and "epoch" in row]


def pick_depths(cases: Sequence[Case]) -> list[Case]:
    """Return one run of each depth, as many as a figure holds."""
    return list({case.depth: case for case in reversed(cases)}.values())[::-1][:MOST]


def compare_depths(cases: Sequence[Case]) -> str:
    """Say whether the deepest network fits its training images better than the shallowest one."""
    shallow, deep = cases[0], cases[-1]
    if "train" not in shallow.final or "train" not in deep.final:
        return ""
    one, other = shallow.final["train"], deep.final["train"]
    word = "higher" if other > one else "lower" if other < one else "as high"
    return (
        f"With {deep.depth} layers the {deep.kind} network ends at a training error of {other:.1f} %, "
        f"{word}{'' if word == 'as high' else ' than'} {'as ' * (word == 'as high')}the {one:.1f} % "
        f"with {shallow.depth} layers."
    )


def show_depths(cases: Sequence[Case]) -> Shown:
    """Draw the last errors against depth."""
    name, title = "depth", "Error of the last epoch, by depth"
    split = "test" if all("test" in case.final for case in cases) else "val"
    lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for kind in ("plain", "residual"):
        for part in ("train", split):
            values: dict[int, list[float]] = {}
            for case in cases:
                if case.kind == kind and part in case.final:
                    values.setdefault(case.depth, []).append(case.final[part])
            lines[kind, part] = [(depth, statistics.fmean(found)) for depth, found in sorted(values.items())]
    if not all(len(points) > 1 for points in lines.values()):
        return Shown(name, title, "", [], TRAIN, [])
    with use_style():
        canvas, (panel,) = make_panels(1)
        for (kind, part), points in lines.items():
            look = "o--" if part == "train" else "o-"
            label = f"{kind}, {'training' if part == 'train' else 'validation' if part == 'val' else 'test'}"
            panel.plot(*zip(*points, strict=True), look, color=get_colour(int(kind == "plain")), label=label)
        panel.set(xlabel="layers", ylabel="error %")
        panel.legend(frameon=False)
        svg = save(canvas, name, title)
    return Shown(name, title, svg, [describe_setting(cases), "Means over seeds where there are several."], "", cases)


def read_probe(case: Case, probe: str) -> list[Drawn]:
    """Return what a probe has found in a run, at each point of its training; [] where it did not look."""
    head, *lines = read_csv(case.path / "probes" / f"{probe}.csv") or [[]]
    points: dict[str, list[Row]] = {}
    try:
        for line in lines:
            cells = dict(zip(head, line, strict=True))
            row = {k: v if k in WORDS else float(v) if v else None for k, v in cells.items()}
            points.setdefault(cells["at"], []).append(row)
    except (ValueError, KeyError):
        raise UserError(f"{case.path / 'probes' / probe}.csv: damaged; the same probe writes it again") from None
    return [Drawn(case.model, at, Found(rows)) for at, rows in points.items()]


def draw_probe(cases: Sequence[Case], probe: str) -> tuple[str, list[Drawn], list[Case]]:
    """Draw what a probe has found in these runs, one of each network: SVG, what was drawn, and the runs."""
    found: dict[str, tuple[Case, list[Drawn]]] = {}
    for case in cases:
        if case.model not in found and len(found) < MOST and (drawn := read_probe(case, probe)):
            found[case.model] = case, drawn
    every = sorted(found.values(), key=lambda pair: (pair[0].depth, pair[0].residual))
    together = [each for _, several in every for each in several]
    if not together:
        return "", [], []
    with use_style():
        canvas = PROBES[probe].draw(together, PROBES[probe].options())
        return save(canvas, probe, PROBES[probe].title), together, [case for case, _ in every]


def show_gradients(cases: Sequence[Case]) -> Shown:
    """Draw the gradient's norm at each layer."""
    svg, drawn, used = draw_probe(cases, "gradient_flow")
    says = []
    for each in drawn:
        norms = each.column("gradient")[each.column("depth") > 0]
        says.append(f"{each.title}: first layer ÷ last layer = {norms[0] / max(norms[-1], 1e-30):.3g}.")
    title = PROBES["gradient_flow"].caption
    return Shown("gradient", title, svg, says, PROBE.format("gradient_flow", " at=init,last"), used)


def show_landscapes(cases: Sequence[Case]) -> Shown:
    """Draw the loss around the weights."""
    svg, _, used = draw_probe(cases, "loss_landscape")
    title = PROBES["loss_landscape"].caption
    return Shown("landscape", title, svg, [], PROBE.format("loss_landscape", ""), used)


def link(path: Path, out: Path) -> str:
    """Return the link from the page to a run's directory."""
    return quote(os.fsencode(os.path.relpath(path, out.parent))) + "/"
