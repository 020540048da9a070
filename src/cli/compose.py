"""Compose ``conf/train.yaml`` and the command line into typed configurations, with Hydra."""

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..config.choices import CHOICES, RECIPES, find_choice
from ..config.fields import check_numbers
from ..config.run import TrainConfig
from ..config.task import list_tasks_for
from ..errors import UserError
from ..files import check_yaml
from ..text import describe_unknown, natural_sort_key
from ..zoo.registry import row, rows
from .console import FULL_ERROR, set_variable
from .experiments import CONF, list_brought_words, load_experiment, read_experiment_choices
from .near import name_setting, suggest_setting
from .plugins import find_plugin_names, load_plugins
from .words import check_folders, prepare_words, quote_values

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMAS = re.compile(r"^(logger|plugins)=([^\[\](){}'\",]+(?:,[^\[\](){}'\",]+)+)$")  # a list, in a single run
# "auto" of a number is stored as 0
AUTO = re.compile(r"^(data\.(?:batch_size|image_size|channels)|optim\.lr|trainer\.max_epochs)=auto$")
WANDB_SETTING = re.compile(r"^(\+*|~)logger\.(project|entity|group|job_type|tags|mode)\b")


def compose_run(*overrides: str, brings: bool = True) -> TrainConfig:
    """Compose the configuration that ``python -m src.train <overrides>`` would run.

    Without `brings`, what an experiment's own network brings is left out. Raises UserError, or an error of Hydra, for
    wrong overrides.
    """
    from hydra import compose, initialize_config_dir

    load_plugins(find_plugin_names(overrides))
    store_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_train_config(compose("train", complete_overrides(list(overrides), brings=brings)))


def compose_and_run(job: Callable[["DictConfig"], object]) -> None:
    """Compose ``conf/train.yaml`` with the command line and run the job on it, or on each point of a sweep (-m)."""
    import hydra

    load_plugins(find_plugin_names(sys.argv[1:]))
    store_schema()

    home = Path.cwd()

    def run(config: "DictConfig") -> object:
        os.chdir(home)  # with hydra.job.chdir=true, too, relative paths start where the command was typed
        with set_variable("HYDRA_FULL_ERROR", FULL_ERROR):
            return job(config)

    sys.argv[1:] = prepare_words(sys.argv[1:])
    check_folders([str(CONF)])
    check_grids(sys.argv[1:])
    sys.argv[1:] = complete_overrides(sys.argv[1:])
    # Hydra would print its own pages and call sys.exit; with the variable set it lets exceptions through.
    with set_variable("HYDRA_FULL_ERROR", "1"):
        hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")(run)()


def complete_overrides(words: list[str], *, brings: bool = True) -> list[str]:
    """Complete overrides for Hydra with the full names of W&B's settings, quotes, and the task of the data set.

    The task is added unless one is typed, or the experiment's is one of the data set's: in Hydra, the choice of one
    group cannot set the default of another. So are the settings that a value of an experiment's grid brings.
    """
    words = quote_values([WANDB_SETTING.sub(r"\1logger.wandb.\2", word) for word in words])
    words = [AUTO.sub(r"\1=0", word) for word in words]
    words = ["optim.find_lr=true" if word == "optim.lr=find" else word for word in words]
    sweeps = bool({"-m", "--multirun"} & set(words))  # whose jobs come here, too, each with its own values
    words = words if sweeps else [COMMAS.sub(r"\1=[\2]", word) for word in words]
    words = ["seed=choice(auto)" if word == "seed=auto" else word for word in words]  # which Hydra leaves to the grid
    check_group_words(words)
    check_model_name(words)
    typed = dict(word.split("=", 1) for word in words if "=" in word)
    experiment = typed.get("experiment", "")
    chosen = read_experiment_choices(experiment, words) | typed
    brought = list_brought_words(experiment, words, typed if sweeps or not brings else chosen)
    words += [word for word in brought if word not in words]
    if chosen.get("data") not in CHOICES["data"] or "task" in typed:
        return words
    tasks = list_tasks_for(getattr(find_choice("data", chosen["data"]), "targets", ()))
    return words if chosen.get("task", "multiclass") in tasks else [*words, f"task={tasks[0]}"]


def check_group_words(words: list[str]) -> None:
    """Refuse what is no name where a group's choice is named, such as model=7 or optim=[sgd]; raise UserError."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    groups = [folder.name for folder in CONF.iterdir() if folder.is_dir()]
    for word in words:
        group, equals, typed = word.lstrip("+").partition("=")
        if not equals or group not in [*groups, "logger"]:
            continue
        override = OverridesParser.create().parse_override(word)
        if override.is_sweep_override():
            continue
        value = override.value()
        names = value if isinstance(value, list) and group == "logger" else [value]
        if not all(isinstance(name, str) for name in names):
            raise UserError(describe_unknown(group, typed[:100], list_group_choices(group)))


def check_model_name(words: list[str]) -> None:
    """Refuse ``model.name=resnet56`` alone, which would build the default network under that name; raise UserError."""
    if any(word.lstrip("+").startswith(("model=", "experiment=")) for word in words):
        return
    for name in (word.partition("=")[2] for word in words if word.startswith("model.name=")):
        if name in rows():
            raise UserError(f"model.name={name}: names a network, but chooses none; type model={name}")


def check_grids(words: list[str]) -> None:
    """Refuse seed=auto without a sweep, and a sweep over experiments with grids of their own: Hydra would ignore them.

    Raises UserError.
    """
    if "seed=auto" in words and not {"-m", "--multirun"} & set(words):
        raise UserError("seed=auto trains seeds until the verdicts are settled, which are many runs: add -m")
    for word in words:
        key, _, value = word.partition("=")
        names = value.split(",")
        if key == "experiment" and len(names) > 1 and any("hydra" in load_experiment(n, words) for n in names):
            raise UserError(f"{word}: one of these experiments has a grid of its own; start them one by one")


def store_schema() -> None:
    """Register the typed schema, the networks and all choices with Hydra, which checks every key and value by them."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=TrainConfig)
    for name, node in rows().items():
        store.store(group="model", name=name, node=node)
    for name, recipe in RECIPES.items():
        store.store(group="recipe", name=name, node=recipe, package="_global_")
    for group, kinds in CHOICES.items():
        for name, kind in kinds.items():
            if group == "logger":
                store.store(group=group, name=name, node=kind, package=f"logger.{name}")
                continue
            store.store(group=group, name=f"base_{name}", node=kind)
            if not list_choice_files(group, name):
                store.store(group=group, name=name, node=kind)


def to_train_config(config: "DictConfig") -> TrainConfig:
    """Convert a composed configuration to its dataclasses, which check themselves; raise UserError for a wrong one."""
    from omegaconf import OmegaConf

    if found := find_unread_keys(config):
        meant = [name_setting(setting) for name in found if (setting := suggest_setting(name.rpartition(".")[2]))]
        hint = f"did you mean {' '.join(meant)}?" if meant else "python -m src.train --help lists them all"
        raise UserError(f"{', '.join(found)}: no such setting; {hint}")
    check_lists(config)
    result = OmegaConf.to_object(config)
    assert isinstance(result, TrainConfig)
    chosen = {"data": result.data.choice, "task": result.task.choice, "optim": result.optim.choice}
    for group, name in ({"model": result.model.family} | chosen).items():
        if not name:
            raise UserError(f"{group}=null: a run needs one; type {group}=<name> (python -m src.train --help)")
    check_numbers(result)
    return result


def check_lists(config: "DictConfig", prefix: str = "") -> None:
    """Raise UserError for a list inside of a list, whose type OmegaConf does not check."""
    from omegaconf import DictConfig, ListConfig

    for key in map(str, config):
        node: Any = config._get_node(key)
        plain = isinstance(node, DictConfig | ListConfig) and not node._is_none() and not node._is_missing()
        if not plain or node._is_interpolation():
            continue
        if isinstance(node, DictConfig):
            check_lists(node, f"{prefix}{key}.")
        elif any(isinstance(node._get_node(i), DictConfig | ListConfig) for i in range(len(node))):
            raise UserError(f"{prefix}{key}={node}: a list of plain values is needed, such as [a,b]")


@functools.cache
def list_choice_files(group: str, kind: str) -> list[str]:
    """Return the names of a group that are files of conf/, built on the choice of this kind."""
    found = (CONF / group).glob("*.yaml")
    return sorted(path.stem for path in found if f"base_{kind}," in path.read_text())


def load_choice(group: str, name: str) -> "DictConfig":
    """Load the settings of ``group=name``, on the dataclass of its choice where the group has choices."""
    from omegaconf import DictConfig, OmegaConf

    file = CONF / group / f"{name}.yaml"
    if not file.exists():
        return cast(DictConfig, OmegaConf.structured(find_choice(group, name)))
    content = cast(DictConfig, OmegaConf.load(check_yaml(file)))
    bases = content.pop("defaults", [])
    kinds = [find_choice(group, base.removeprefix("base_")) for base in bases if base.startswith("base_")]
    return cast(DictConfig, OmegaConf.merge(*map(OmegaConf.structured, kinds), content))


def apply_overrides(config: "DictConfig", overrides: list[str]) -> "DictConfig":
    """Apply overrides from the command line to a stored configuration: `group=name` first, then `key=value`.

    A named data set or model replaces the stored one; a name of another group is merged over the stored settings.
    Raises UserError for an unknown name, and for `experiment=` and `recipe=`.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import DictConfig, OmegaConf, open_dict

    words = quote_values(overrides)
    parsed = [o for o in OverridesParser.create().parse_overrides(words) if not o.key_or_group.startswith("hydra")]
    values = []
    for override in parsed:
        key, value = override.key_or_group, override.value()
        if key in ("experiment", "recipe"):
            raise UserError(f"{key}={value}: is for a new run; here, type only the settings that differ")
        if key == "logger" and isinstance(value, str | list):
            names = [value] if isinstance(value, str) else value
            known = config.logger
            config.logger = {n: known.get(n, OmegaConf.structured(find_choice("logger", n))) for n in names}
        elif not isinstance(OmegaConf.select(config, key), DictConfig) or not isinstance(value, str):
            values.append(override)
        elif key == "model":
            config.model = OmegaConf.structured(row(value))
        elif value not in list_group_choices(key):
            raise UserError(describe_unknown(key, value, list_group_choices(key)))
        else:
            named = load_choice(key, value)
            alike = OmegaConf.get_type(named) in (dict, OmegaConf.get_type(config[key])) and key != "data"
            config[key] = OmegaConf.merge(config[key], named) if alike else named
    for override in values:
        with open_dict(config) if override.is_add() else contextlib.nullcontext():
            OmegaConf.update(config, override.key_or_group, override.value())
    return config


def find_unread_keys(config: "DictConfig", prefix: str = "") -> list[str]:
    """Return the keys of a configuration that its dataclasses lack: Hydra accepts a `+typo=3`, but no code reads it."""
    from omegaconf import DictConfig, OmegaConf

    kind = OmegaConf.get_type(config)
    known = {f.name for f in fields(kind)} if is_dataclass(kind) else set(config)
    names = [prefix + str(key) for key in config if key not in known]
    for key in known & set(config):
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none():
            names += find_unread_keys(node, f"{prefix}{key}.")
    return names


def list_group_choices(group: str) -> list[str]:
    """Return the names that a config group offers: its files in conf/, and what is registered for it."""
    names = {path.stem for path in (CONF / group).glob("*.yaml")}
    if group == "model":
        names |= set(rows())
    elif group == "recipe":
        names |= set(RECIPES)
    elif group in CHOICES:
        names |= {name for name in CHOICES[group] if not list_choice_files(group, name)}
    return sorted(names, key=natural_sort_key)
