"""The page of ``python -m src.train --help``."""

import textwrap
from dataclasses import Field, fields, is_dataclass

from ..config.choices import CHOICES, list_group_fields
from ..config.fields import get_default
from ..config.run import TrainConfig
from ..config.search import HpoConfig
from ..zoo.registry import rows
from .compose import list_group_choices

INTRODUCTION = """\
Train a residual network and get a number you can trust.

  python -m src.train model=resnet56 data=cifar10
  python -m src.train -m model=resnet20,resnet32 seed=0,1      a sweep: one run a point, one table
  python -m src.train -m hpo=default model=resnet20            a search over settings, by validation

The same command again returns a finished run's result, or resumes an unfinished run.
"""
SWEEPS = {
    "slots=2": "jobs at once, each with its part of the cores; by default one a GPU, or one",
    "retries=1": "how often a failed job is started again (0)",
    "minutes=90": "the longest that a job may take (no limit)",
    "on_failure=stop": "start nothing after a failure (continue)",
}
CLUSTER_SWEEPS = {
    "partition=gpu": "the partition; by default the cluster's own choice",
    "minutes=60": "the time that a job asks for before it queues again",
    "gpus=4": "GPUs of a node (0); hydra.launcher.cpus=8: cores a process (1)",
    "memory=32": "of a node [GB]; by default the cluster's own choice",
    "slots=8": "jobs at once; hydra.launcher.requeues=100: how often a job queues again",
    "sbatch.account=me": "any other option of sbatch, by its long name",
}


def format_help() -> str:
    """Return the page of `python -m src.train --help`: groups, models by family, and settings with their defaults."""
    families: dict[str, list[str]] = {}
    for name, model in rows().items():
        families.setdefault(model.family, []).append(name)
    groups = ("data", "task", "recipe", "optim", "finetune", "trainer", "logger", "experiment", "hpo")
    return "\n".join(
        [
            INTRODUCTION,
            "Groups (group=name):",
            *(_format_entry(group, ", ".join(list_group_choices(group))) for group in groups),
            "",
            "Models by family (model=name; python -m src.models shows parameters and multiply-adds):",
            *(_format_entry(family, ", ".join(names)) for family, names in families.items()),
            "",
            "Settings (name=value):",
            *_format_settings(),
            "",
            "What makes a network is set on its family: model=cifar_resnet model.depth=74.",
            "",
            "Sweeps (-m; hydra/launcher=basic runs them in one process, without these):",
            *(_format_entry(f"  hydra.launcher.{setting}", text) for setting, text in SWEEPS.items()),
            "",
            "Sweeps on a cluster (-m hydra/launcher=slurm): jobs save, queue again and resume where time runs out:",
            *(_format_entry(f"  hydra.launcher.{setting}", text) for setting, text in CLUSTER_SWEEPS.items()),
            "Hydra's flags (--cfg job, --info, -m): --hydra-help",
        ]
    )


def _format_settings() -> list[str]:
    """Return a line for each setting, those of all models and of all choices of a group included."""
    out = []
    for f in fields(TrainConfig):
        if f.name == "model":
            own = {inner.name: inner for row in rows().values() for inner in fields(row) if inner.name != "name"}
            out += [_format_setting("model.", inner) for inner in own.values()]
        elif is_dataclass(f.type):
            found = list_group_fields(f.name) if f.name in CHOICES else {inner.name: inner for inner in fields(f.type)}
            out += [_format_setting(f"{f.name}.", inner) for name, inner in found.items() if name != "name"]
        elif f.name == "logger":
            out += [_format_setting("logger.", inner) for inner in list_group_fields("logger").values()]
        elif f.name == "hpo":
            out += [_format_setting("hpo.", inner) for inner in fields(HpoConfig)]
        else:
            out.append(_format_setting("", f))
    return out


def _format_entry(head: str, body: str) -> str:
    return textwrap.fill(body, 110, initial_indent=f"  {head + ' ':<16}", subsequent_indent=" " * 18)


def _format_setting(prefix: str, f: "Field[object]") -> str:
    choices = f.metadata.get("choices")
    text = f.metadata["help"] + (f" ({' | '.join(choices)})" if choices else "")
    return f"  {f'{prefix}{f.name}={get_default(f)}':<34} {text}"
