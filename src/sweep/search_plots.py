"""Optuna's plots of a search as PNG files: its history, each setting's slice, the settings' importances."""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.visualization import matplotlib as plots

from ..files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna import Study

ENOUGH = 10  # complete trials, before an importance means anything


def draw_plots(study: "Study", names: Sequence[str], metric: str, folder: Path) -> list[Path]:
    """Draw a study with a complete trial over the settings `names` into `folder`; return the files written.

    The settings' importances (fANOVA) are drawn only for enough complete trials that differ in their values.
    """
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    title = f"{folder.name}: complete trials ({len(complete)}), one seed each"
    with use_optuna_style():
        history = plots.plot_optimization_history(study, target_name=metric)
        history.xaxis.set_major_locator(MaxNLocator(integer=True))
        slices = np.ravel(np.array(plots.plot_slice(study, list(names), target_name=metric)))
        for axes in slices:
            mark_log_scale(axes, study)
        drawn = {"history.png": history, "slices.png": slices[0]}
        if len(complete) >= ENOUGH and len({trial.value for trial in complete}) > 1:
            fanova = FanovaImportanceEvaluator(seed=0)
            drawn["importances.png"] = plots.plot_param_importances(study, fanova, list(names), target_name=metric)
        for name, axes in drawn.items():
            write_figure(axes, title, folder / name)
    return [folder / name for name in drawn]


@contextmanager
def use_optuna_style() -> Iterator[None]:
    """Let Optuna draw without a screen; afterwards restore matplotlib's settings and close what was opened.

    Optuna calls its plots experimental, and matplotlib warns of a scale without extent where all trials agree.
    """
    import matplotlib
    from matplotlib import pyplot

    before, opened = matplotlib.get_backend(), set(pyplot.get_fignums())
    pyplot.switch_backend("agg")
    try:
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for number in set(pyplot.get_fignums()) - opened:
            pyplot.close(number)
        pyplot.switch_backend(before)


def mark_log_scale(axes: "Axes", study: "Study") -> None:
    """Show all that was searched of a logarithmic setting, and label its ends and middle: Optuna's labels overlap."""
    if axes.get_xscale() == "log":
        name = axes.get_xlabel()
        kind = next(trial.distributions[name] for trial in study.trials if name in trial.distributions)
        assert isinstance(kind, FloatDistribution | IntDistribution)
        ticks = [kind.low, math.sqrt(kind.low * kind.high), kind.high]
        axes.set_xlim(kind.low / 1.1, kind.high * 1.1)
        axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        axes.set_xticks([], minor=True)


def write_figure(axes: "Axes", title: str, path: Path) -> None:
    """Write the figure of these axes as PNG, under a title that says what was searched."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    for place in ("center", "left"):  # Optuna's own titles name the kind of plot, as the file does
        axes.set_title("", loc=place)
    figure.suptitle(title)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150, bbox_inches="tight")
    write_atomic(path, png.getbuffer())
