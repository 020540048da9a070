"""What a search leaves for people: a table, trials.csv, history.png, and its best point as an experiment file."""

import io
import math
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_atomic, write_rows
from ..runs.stored import command_line
from ..tasks.table import title_of
from ..text import quoted, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna import Study
    from optuna.trial import FrozenTrial

    from .launcher import Jobs

SHOWN = 10  # trials in the table


ENOUGH = 10  # complete trials, before a figure says which setting matters


BEST = "#d55e00"


LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "BEST": ("the best", {"marker": "*", "s": 260, "color": BEST, "zorder": 2}),
    "COMPLETE": ("complete", {"color": "#0072b2"}),
    "RECIPE": ("the recipe's own values", {"marker": "D", "color": "#007a5a"}),
    "PRUNED": ("pruned, at its last value", {"facecolors": "none", "edgecolors": "#59636e"}),
    "FAIL": ("failed", {"marker": "x", "color": "#b3261e"}),
}


STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "begun", "WAITING": "waiting"}


def rounded(value: Any) -> Any:
    """A proposed value as it is used: four digits are enough to tell points apart, and can be read."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def word(name: str, value: Any) -> str:
    """A setting as a word of the command line."""
    if isinstance(value, str):
        plain = re.fullmatch("[A-Za-z][A-Za-z0-9_]*", value) and value.lower() not in (
            "null",
            "true",
            "false",
            "nan",
            "inf",
        )
        return f"{name}={value if plain else quoted(value)}"
    return f"{name}={'null' if value is None else str(value).lower() if isinstance(value, bool) else value}"


def conclude(
    study: "Study", folder: Path, names: Sequence[str], metric: str, fixed: Sequence[str], launcher: "Jobs"
) -> str:
    """Write the files of a search over the settings `names` into its folder; returns what to print of it."""
    trials = [trial for trial in study.trials if trial.state.name != "WAITING"]
    write_rows(folder / "trials.csv", [
        ["trial", "state", metric, "epochs", *names, "reason", "run"],
        *([t.number, STATES[t.state.name], t.value, max(t.intermediate_values, default=0)]
          + [rounded(t.params.get(name)) for name in names]
          + [t.user_attrs.get("reason", ""), t.user_attrs.get("run", "")] for t in trials),
    ])  # fmt: skip
    sign = 1 if study.direction.name == "MINIMIZE" else -1
    complete = sorted((t for t in trials if t.state.name == "COMPLETE"), key=lambda t: (sign * value_of(t), t.number))
    title = in_words(metric)
    rows = [["trial", *names, title, "epochs"]]
    for trial in complete[:SHOWN]:
        cells = [str(rounded(trial.params[name])) for name in names]
        rows.append([str(trial.number), *cells, f"{value_of(trial):.4f}", str(max(trial.intermediate_values))])
    counts = Counter(STATES[trial.state.name] for trial in trials)
    said = f"{len(trials)} trials: {', '.join(f'{n} {state}' for state, n in counts.items())}"
    lines = [*([table(rows)] if complete else []), said]
    lines += [f"trial {t.number} failed: {t.user_attrs.get('reason')}" for t in trials if t.state.name == "FAIL"]
    if complete:
        best = complete[0]
        draw(study, trials, names, metric, folder / "history.png")
        point = {name: rounded(best.params[name]) for name in names}
        text = experiment(fixed, point, launcher, [
            f"Trial {best.number} of {len(trials)} of: {command_line()}",
            f"{title} {value_of(best):.4f} with one seed; the best of many is too good: see other seeds.",
            "As conf/experiment/<name>.yaml: python -m src.train -m experiment=<name> seed=1,2,3",
        ])  # fmt: skip
        write_atomic(folder / "best.yaml", text.encode())
        first = next((t for t in complete if was_recipe(t)), None)
        recipe = f"; the recipe's own values: {value_of(first):.4f}" if first else ""
        again = shlex.join([*fixed, *(word(*pair) for pair in point.items())])
        lines += [
            f"\nBest: trial {best.number}, {title} {value_of(best):.4f}{recipe}. One seed, and the best of many: "
            "with other seeds expect less.",
            f"Its test, which no trial has seen: python -m src.train {again}",
            f"With other seeds: copy {folder / 'best.yaml'} to conf/experiment/<name>.yaml, then "
            "python -m src.train -m experiment=<name> seed=1,2,3",
            f"{folder / 'history.png'}",
        ]
    return "\n" + "\n".join(lines)


def value_of(trial: "FrozenTrial") -> float:
    assert trial.value is not None
    return trial.value


def in_words(metric: str) -> str:
    """Such as "val accuracy" of val/accuracy."""
    split, _, name = metric.partition("/")
    return f"{split} {title_of(name)}"


def experiment(fixed: Sequence[str], point: dict[str, Any], launcher: "Jobs", header: Sequence[str]) -> str:
    """The typed words of a search and a point of it as an experiment file."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    words = OverridesParser.create(config_loader=launcher.loader).parse_overrides(list(fixed))
    defaults: list[Any] = []
    content = OmegaConf.create()
    for override in words:
        key, value = override.key_or_group, override.value()
        if key == "experiment":
            defaults.insert(0, value)
        elif launcher.loader.get_group_options(key):
            defaults.append({f"override /{key}": value})
        elif key != "output_root":
            OmegaConf.update(content, key, value)
    for name, value in point.items():
        OmegaConf.update(content, name, value)
    comments = "".join(f"# {line}\n" for line in header)
    chosen = OmegaConf.to_yaml(OmegaConf.create({"defaults": defaults})) if defaults else ""
    return f"# @package _global_\n{comments}{chosen}{OmegaConf.to_yaml(content)}"


def draw(study: "Study", trials: Sequence["FrozenTrial"], names: Sequence[str], metric: str, path: Path) -> None:
    """The value of each trial with the best so far, and below it against each setting."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    from ..report.render.plot import GRID, INK, SOFT, use_style

    best, shares, columns = study.best_trial, importances(study, names), min(3, len(names))
    lines = 1 + math.ceil(len(names) / columns)
    point = ", ".join(f"{name} {rounded(best.params[name])}" for name in names)
    title = f"{path.parent.name}: {in_words(metric)} of {len(trials)} trials, one seed each"
    complete = [t for t in trials if t.state.name == "COMPLETE"]
    choose = min if study.direction.name == "MINIMIZE" else max
    so_far = [choose(value_of(t) for t in complete[: i + 1]) for i in range(len(complete))]
    with use_style():
        colours = {INK: "#1b1f24", SOFT: "#59636e", GRID: "#d9dee3"}
        settings = {k: colours[v] for k, v in matplotlib.rcParams.items() if isinstance(v, str) and v in colours}
        with matplotlib.rc_context(settings):
            figure = Figure(figsize=(9, 1.4 + 2.6 * lines), layout="constrained", dpi=150)
            grid = figure.add_gridspec(lines, columns)
            figure.suptitle(f"{title}\nthe best, trial {best.number}: {value_of(best):.4f} with {point}", fontsize=10)
            history = figure.add_subplot(grid[0, :])
            history.set(
                xlabel="trial (with a number at the edge: off the scale)", ylabel=in_words(metric), ylim=limits(study)
            )
            history.xaxis.set_major_locator(MaxNLocator(integer=True))
            reached = [*(t.number for t in complete), trials[-1].number]
            history.step(reached, [*so_far, so_far[-1]], where="post", color=BEST, alpha=0.5, label="best so far")
            paint(history, study, trials, [t.number for t in trials], written=True)
            for i, name in enumerate(names):
                axes = figure.add_subplot(grid[1 + i // columns, i % columns], sharey=history)
                axes.set_title(f"explains about {shares[name]:.0%} of the differences" if shares else "")
                axes.set(xlabel=name, ylabel="" if i % columns else in_words(metric))
                axes.tick_params(labelleft=i % columns == 0)
                having = [trial for trial in trials if name in trial.params]
                kind: Any = having[0].distributions[name]
                choices = list(getattr(kind, "choices", ()))
                if choices:
                    axes.set_xticks(range(len(choices)), [str(choice) for choice in choices])
                    axes.set_xlim(-0.5, len(choices) - 0.5)
                elif kind.log:
                    axes.set(xscale="log", xlim=(kind.low / 1.2, kind.high * 1.2))
                    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
                    axes.xaxis.set_minor_formatter(NullFormatter())
                xs = [choices.index(t.params[name]) if choices else t.params[name] for t in having]
                paint(axes, study, having, xs)
            figure.legend(*history.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
            png = io.BytesIO()
            figure.savefig(png, format="png")
    write_atomic(path, png.getbuffer())


def paint(
    axes: "Axes", study: "Study", trials: Sequence["FrozenTrial"], xs: Sequence[float], *, written: bool = False
) -> None:
    """The trials at these places, by how they ended; what is too bad for the scale stands at its edge, as `written`."""
    bottom, top = axes.get_ylim()
    low, high = bottom + 0.04 * (top - bottom), top - 0.04 * (top - bottom)
    minimize = study.direction.name == "MINIMIZE"
    edge = high if minimize else low
    kinds: dict[str, list[tuple[float, float]]] = {}
    for trial, x in zip(trials, xs, strict=True):
        kind, value = trial.state.name, trial.value
        if kind == "COMPLETE" and was_recipe(trial):
            kind = "RECIPE"
        if kind not in LOOKS:
            continue
        beyond = value is None or value > high if minimize else value is None or value < low
        kinds.setdefault(kind, []).append((x, edge if beyond or value is None else value))
        if trial.number == study.best_trial.number:
            kinds["BEST"] = [(x, value_of(trial))]
        if written and beyond and value is not None:
            at = (0, -11) if minimize else (0, 6)
            axes.annotate(f"{value:.3g}", (x, edge), at, textcoords="offset points", ha="center", size=7)
    for kind, (label, look) in LOOKS.items():
        if kind in kinds:
            axes.scatter(*zip(*kinds[kind], strict=True), **({"s": 28, "zorder": 3} | look), label=label)


def limits(study: "Study") -> tuple[float, float]:
    """Bounds of the values that keep the good half apart, however bad the bad ones are."""
    values = sorted(value_of(t) for t in study.trials if t.state.name == "COMPLETE")
    if study.direction.name == "MINIMIZE":
        values.reverse()
    best, middle = values[-1], values[len(values) // 2]
    reach = max(abs(best - middle) * 3, 1e-3 * abs(best), 1e-6)
    worst = max(values[0], best - reach) if values[0] <= best else min(values[0], best + reach)
    margin = 0.08 * max(abs(best - worst), 1e-3 * abs(best), 1e-6)
    return min(best, worst) - margin, max(best, worst) + margin


def was_recipe(trial: "FrozenTrial") -> bool:
    """Whether a trial's values are the recipe's own, and no proposal."""
    return "fixed_params" in trial.system_attrs


def importances(study: "Study", names: Sequence[str]) -> dict[str, float]:
    """The share of the differences between complete trials that each setting explains (fANOVA); {} for too few."""
    import optuna

    values = [trial.value for trial in study.trials if trial.state.name == "COMPLETE"]
    if len(values) < ENOUGH or len(set(values)) == 1:
        return {}
    judge = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=judge, params=list(names))
