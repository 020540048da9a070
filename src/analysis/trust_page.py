"""Show what trust.json says: in lines for a terminal, and as a page with a reliability figure and the corruptions."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import Json
from ..report.render.plot import SOFT, Figure, draw_figure, get_colour, get_marker
from ..training.assemble import Assembly
from .sheet import Cell, Section, Table, render_sheet, write_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 10  # images of a bin that is drawn


def describe_trust(found: Json) -> list[str]:
    """Describe the numbers of a run in lines."""
    return [f"{name:32s} {value}" for name, value, _ in list_facts(found)]


def list_facts(found: Json) -> Iterator[tuple[str, str, str]]:
    """Yield what was measured on the test: its name, its value, and what it means."""
    plain, scaled = found["plain"], found["scaled"]
    if found["temperature"]:
        yield (
            "temperature",
            f"{found['temperature']:.3f}",
            f"fitted on {found['n_val']:,} validation images; above 1 the network was too sure",
        )
    yield "ECE", arrow(plain["ece"], scaled and scaled["ece"], percent), "|confidence - accuracy|, mean of 15 bins"
    yield "negative log-likelihood", arrow(plain["nll"], scaled and scaled["nll"], "{:.4f}".format), "mean, in nats"
    yield "accuracy", percent(found["accuracy"]), f"of all {found['n_test']:,} test images"
    for part in (90, 80):
        title = f"accuracy on the surest {part} %"
        yield title, percent(found["selective"][f"accuracy_at_{part}"]), "where the rest is left to a person"
    yield "AURC", f"{found['selective']['aurc']:.4f}", "the mean error over all such fractions; 0 is best"
    if sets := found["conformal"]:
        value = f"{percent(sets['coverage'])} hold the label, {sets['mean_size']:.2f} classes"
        yield (
            f"conformal sets at {percent(sets['level'], 0)}",
            value,
            "the mean over the test; calibrated on validation",
        )
    if made := found.get("corruptions"):
        value = f"{percent(made['mean_error'])} (clean {percent(made['clean_error'])})"
        yield "error on corrupted images", value, f"15 kinds × 5 strengths, made here of {made['images']:,} images"
    if read := found.get("cifar_c"):
        yield f"error on {read['folder']}", percent(read["mean_error"]), "the published arrays"


def percent(value: float, digits: int = 2) -> str:
    """Write a fraction as a percentage."""
    return f"{100 * value:.{digits}f} %"


def arrow(before: float, after: float | None, write: object) -> str:
    """Write a number before and after scaling by the temperature."""
    assert callable(write)
    return str(write(before)) if after is None else f"{write(before)} → {write(after)}"


def write_page(folder: Path, assembly: Assembly, found: Json) -> None:
    """Write trust.html into the run directory."""
    config = assembly.config
    rows = [[Cell(name), Cell(value), Cell(meaning)] for name, value, meaning in list_facts(found)]
    table = Table(["number", "test", "what it is"], rows, words=["number", "test", "what it is"])
    sections = [Section("Probabilities", table=table, figures=[draw_reliability(found)], files=["trust.json"])]
    sections += [make_corruption_section(found[name], name) for name in ("corruptions", "cifar_c") if found.get(name)]
    what = f"{config.model.name} on {config.data.name}, seed {config.seed}"
    headline = [describe_headline(found), f"The run is {folder.name}; its checkpoint is {found['checkpoint']}."]
    write_sheet(folder / "trust.html", render_sheet(f"Trust · {what}", headline, sections))


def describe_headline(found: Json) -> str:
    """Say in a sentence what a temperature does to the calibration error."""
    plain, scaled = found["plain"]["ece"], found["scaled"] and found["scaled"]["ece"]
    if scaled is None:
        return f"The calibration error is {percent(plain)}"
    verb = "lowers" if scaled < plain else "leaves" if scaled == plain else "raises"
    change = f"{percent(plain)} → {percent(scaled)}"
    return f"A temperature of {found['temperature']:.2f} {verb} the calibration error: {change}"


def draw_reliability(found: Json) -> Figure:
    """Draw accuracy against confidence before and after scaling by the temperature."""
    curves = [("as trained", found["plain"])]
    curves += [(f"temperature {found['temperature']:.2f}", found["scaled"])] if found["scaled"] else []
    rows: list[Sequence[object]] = [["", "mean confidence", "accuracy", "images"]]
    rows += [[label, *each] for label, curve in curves for each in curve["bins"]]

    def paint(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle="--")
        for i, (label, curve) in enumerate(curves):
            shown = [each for each in curve["bins"] if each[2] >= FEWEST]
            x, y = [each[0] for each in shown], [each[1] for each in shown]
            axes.plot(x, y, f"{get_marker(i)}-", color=get_colour(i), label=f"{label}, ECE {percent(curve['ece'])}")
        axes.set(xlabel="mean confidence", ylabel="fraction right", xlim=(0, 1.02), ylim=(0, 1.02))

    caption = (
        f"The {found['n_test']:,} test images in 15 equal bins of confidence, those with {FEWEST} images or more. "
        "Below the dashed line the network is surer than it is right."
    )
    return draw_figure("reliability", "Reliability", caption, rows, paint, labels=len(curves))


def make_corruption_section(found: Json, name: str) -> Section:
    """Make the table of errors, a row for each corruption and a column for each strength."""
    heads = ["corruption", *(f"strength {k}" for k in range(1, 6)), "mean"]
    rows = []
    for corruption, errors in found["errors"].items():
        mark = " (procedural)" if corruption in found.get("procedural", ()) else ""
        numbers = [*errors, sum(errors) / len(errors)]
        head = Cell(corruption.replace("_", " ") + mark)
        rows.append([head, *(Cell(f"{100 * number:.1f}", 100 * number) for number in numbers)])
    if name == "cifar_c":
        lead = f"Error in % on the published arrays {found['folder']}, {found['images']:,} images a strength."
    else:
        lead = (
            f"Error in % on {found['images']:,} test images that were corrupted here (seed {found['seed']}), in "
            f"{found['precision']}; clean {percent(found['clean_error'])}, mean of the 75 "
            f"{percent(found['mean_error'])}. "
            "Alike in kind to CIFAR-10-C and not equal to it, so these are no numbers to hold against published ones."
        )
    title = "Corrupted images" if name == "corruptions" else found["folder"]
    return Section(title, [lead], Table(heads, rows, words=["corruption"]))
