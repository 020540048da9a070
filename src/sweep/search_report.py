"""Report a search: print its best trials; write trials.csv, plots, and the best point as an experiment file."""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.console import name_commands
from ..files import write_atomic, write_rows
from ..runs.stored import read_command_line
from ..tasks.table import find_title
from ..text import format_table, quote

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from .launcher import Jobs

SHOWN = 10  # trials in the table


STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "begun", "WAITING": "waiting"}


KEYWORDS = ("null", "true", "false", "nan", "inf")  # of Hydra's grammar


Value = bool | int | float | str | None  # of a setting


def round_value(value: Value) -> Value:
    """Round a proposed number to the four digits that it is used with: they tell points apart and can be read."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def format_override(name: str, value: Value) -> str:
    """Format a setting as a word of the command line."""
    if isinstance(value, str):
        plain = re.fullmatch("[A-Za-z][A-Za-z0-9_]*", value) and value.lower() not in KEYWORDS
        return f"{name}={value if plain else quote(value)}"
    return f"{name}={'null' if value is None else str(value).lower() if isinstance(value, bool) else value}"


def write_report(
    study: "Study", folder: Path, names: Sequence[str], metric: str, fixed: Sequence[str], launcher: "Jobs"
) -> str:
    """Write the files of a search over the settings `names` into `folder`; return the text to print."""
    trials = [trial for trial in study.trials if trial.state.name != "WAITING"]
    write_trials(folder / "trials.csv", trials, names, metric)
    sign = 1 if study.direction.name == "MINIMIZE" else -1
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    complete.sort(key=lambda trial: (sign * get_value(trial), trial.number))
    counts = Counter(STATES[trial.state.name] for trial in trials)
    lines = [format_best_trials(complete, names, metric)] if complete else []
    lines += [f"{len(trials)} trials: {', '.join(f'{n} {state}' for state, n in counts.items())}"]
    lines += [f"trial {t.number} failed: {t.user_attrs.get('reason')}" for t in trials if t.state.name == "FAIL"]
    if complete:
        from .search_plots import draw_plots  # imports Optuna

        point = {name: round_value(complete[0].params[name]) for name in names}
        header = list(map(name_commands, describe_best_point(complete[0], len(trials), metric)))
        write_atomic(folder / "best.yaml", format_experiment(fixed, point, launcher, header).encode())
        lines += map(name_commands, describe_next_steps(complete, point, metric, fixed, folder))
        lines += map(str, draw_plots(study, names, describe_metric(metric), folder))
    return "\n" + "\n".join(lines)


def write_trials(path: Path, trials: Sequence["FrozenTrial"], names: Sequence[str], metric: str) -> None:
    """Write a row for each trial: its state, value, epochs, settings, reason to fail and run directory."""
    rows: list[list[object]] = [["trial", "state", metric, "epochs", *names, "reason", "run"]]
    for trial in trials:
        row = [trial.number, STATES[trial.state.name], trial.value, max(trial.intermediate_values, default=0)]
        row += [round_value(trial.params.get(name)) for name in names]
        rows.append([*row, trial.user_attrs.get("reason", ""), trial.user_attrs.get("run", "")])
    write_rows(path, rows)


def format_best_trials(complete: Sequence["FrozenTrial"], names: Sequence[str], metric: str) -> str:
    """Format the first of the complete trials, which come best first, as a table."""
    rows = [["trial", *names, describe_metric(metric), "epochs"]]
    for trial in complete[:SHOWN]:
        cells = [str(round_value(trial.params[name])) for name in names]
        rows.append([str(trial.number), *cells, f"{get_value(trial):.4f}", str(max(trial.intermediate_values))])
    return format_table(rows)


def describe_best_point(best: "FrozenTrial", trials: int, metric: str) -> list[str]:
    """Return the comment at the head of best.yaml, line by line."""
    return [
        f"Trial {best.number} of {trials} of: {read_command_line()}",
        f"{describe_metric(metric)} {get_value(best):.4f} with one seed; the best of many trials is optimistic: "
        "run other seeds.",
        "As conf/experiment/<name>.yaml: python -m src.train -m experiment=<name> seed=1,2,3",
    ]


def describe_next_steps(
    complete: Sequence["FrozenTrial"], point: Mapping[str, Value], metric: str, fixed: Sequence[str], folder: Path
) -> list[str]:
    """Say how good the best trial is, and which commands test it and repeat it with other seeds."""
    best, recipe = complete[0], next((trial for trial in complete if has_recipe_values(trial)), None)
    compared = f"; the recipe's own values: {get_value(recipe):.4f}" if recipe else ""
    words = shlex.join([*fixed, *(format_override(name, value) for name, value in point.items())])
    return [
        f"\nBest: trial {best.number}, {describe_metric(metric)} {get_value(best):.4f}{compared}. This is one seed and "
        "the best of many trials: expect less with other seeds.",
        f"Its test, which no trial has seen: python -m src.train {words}",
        f"With other seeds: copy {folder / 'best.yaml'} to conf/experiment/<name>.yaml, then "
        "python -m src.train -m experiment=<name> seed=1,2,3",
    ]


def get_value(trial: "FrozenTrial") -> float:
    """Return the value of a complete trial."""
    assert trial.value is not None
    return trial.value


def describe_metric(metric: str) -> str:
    """Return a metric's title, such as "val accuracy" for val/accuracy."""
    split, _, name = metric.partition("/")
    return f"{split} {find_title(name)}"


def format_experiment(fixed: Sequence[str], point: Mapping[str, Value], launcher: "Jobs", header: Sequence[str]) -> str:
    """Format the typed words of a search and a point of it as an experiment file."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    words = OverridesParser.create(config_loader=launcher.loader).parse_overrides(list(fixed))
    defaults: list[object] = []
    content = OmegaConf.create()
    for override in words:
        key, value = override.key_or_group, override.value()
        if key == "experiment":
            defaults.insert(0, value)
        elif launcher.loader.get_group_options(key):
            defaults.append({f"override /{key}": value})
        elif key != "output_root":
            OmegaConf.update(content, key, value)
    for name, chosen in point.items():
        OmegaConf.update(content, name, chosen)
    comments = "".join(f"# {line}\n" for line in header)
    groups = OmegaConf.to_yaml(OmegaConf.create({"defaults": defaults})) if defaults else ""
    return f"# @package _global_\n{comments}{groups}{OmegaConf.to_yaml(content)}"


def has_recipe_values(trial: "FrozenTrial") -> bool:
    """Return whether a trial's values are the recipe's own instead of proposed ones."""
    return "fixed_params" in trial.system_attrs
