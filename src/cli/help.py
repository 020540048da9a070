"""The page of ``python -m src.train --help``."""

from dataclasses import fields, is_dataclass
from typing import Any

from ..config.choices import CHOICES, list_group_fields
from ..config.fields import get_default
from ..config.run import TrainConfig
from ..config.search import HpoConfig
from ..zoo.registry import rows
from .compose import list_group_choices


def format_help() -> str:
    """The page of `python -m src.train --help`: groups, models by family, and the settings with their defaults."""
    import textwrap

    families: dict[str, list[str]] = {}
    for name, model in rows().items():
        families.setdefault(model.family, []).append(name)
    out = [
        "Train a residual network and get a number you can trust.",
        "",
        "  python -m src.train model=resnet56 data=cifar10",
        "  python -m src.train -m model=resnet20,resnet32 seed=0,1      a sweep: one run a point, one table",
        "  python -m src.train -m hpo=default model=resnet20            a search over settings, by validation",
        "",
        "The same command again returns a finished run's result, or resumes an unfinished run.",
        "",
        "Groups (group=name):",
    ]
    for group in ("data", "task", "recipe", "optim", "finetune", "trainer", "logger", "experiment", "hpo"):
        out.append(_entry(group, ", ".join(list_group_choices(group))))
    out += ["", "Models by family (model=name; python -m src.models shows parameters and multiply-adds):"]
    out += [_entry(family, ", ".join(names)) for family, names in families.items()]
    out += ["", "Settings (name=value):"]
    for f in fields(TrainConfig):
        if f.name == "model":
            own = {inner.name: inner for row in rows().values() for inner in fields(row) if inner.name != "name"}
            out += [_setting("model.", inner) for inner in own.values()]
        elif is_dataclass(f.type):
            found = list_group_fields(f.name) if f.name in CHOICES else {inner.name: inner for inner in fields(f.type)}
            out += [_setting(f"{f.name}.", inner) for name, inner in found.items() if name != "name"]
        elif f.name == "logger":
            out += [_setting("logger.", inner) for inner in list_group_fields("logger").values()]
        elif f.name == "hpo":
            out += [_setting("hpo.", inner) for inner in fields(HpoConfig)]
        else:
            out.append(_setting("", f))
    out += ["", textwrap.fill("What makes a network is set on its family: model=cifar_resnet model.depth=74.", 110)]
    out += ["", "Sweeps (-m; hydra/launcher=basic runs them in one process, without these):"]
    out += [
        _entry(
            "  hydra.launcher.slots=2", "jobs at once, each with its share of the cores; by default one a GPU, or one"
        ),
        _entry("  hydra.launcher.retries=1", "how often a failed job is started again (0)"),
        _entry("  hydra.launcher.minutes=90", "the longest that a job may take (no limit)"),
        _entry("  hydra.launcher.on_failure=stop", "start nothing after a failure (continue)"),
    ]
    out += [
        "",
        "Sweeps on a cluster (-m hydra/launcher=slurm): jobs that save, queue again and resume where time runs out:",
    ]
    out += [
        _entry("  hydra.launcher.partition=gpu", "where to; by default the cluster's own choice"),
        _entry("  hydra.launcher.minutes=60", "the time that a job asks for before it queues again"),
        _entry("  hydra.launcher.gpus=4", "GPUs of a node (0); hydra.launcher.cpus=8: cores a process (1)"),
        _entry("  hydra.launcher.memory=32", "of a node [GB]; by default the cluster's own choice"),
        _entry("  hydra.launcher.slots=8", "jobs at once; hydra.launcher.requeues=100: how often a job queues again"),
        _entry("  hydra.launcher.sbatch.account=me", "any other option of sbatch, by its long name"),
    ]
    return "\n".join([*out, "Hydra's flags (--cfg job, --info, -m): --hydra-help"])


def _entry(head: str, body: str) -> str:
    import textwrap

    return textwrap.fill(body, 110, initial_indent=f"  {head + ' ':<16}", subsequent_indent=" " * 18)


def _setting(prefix: str, f: Any) -> str:
    choices = f.metadata.get("choices")
    text = f.metadata["help"] + (f" ({' | '.join(choices)})" if choices else "")
    return f"  {f'{prefix}{f.name}={get_default(f)}':<34} {text}"
