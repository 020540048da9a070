"""Read experiments before Hydra composes them, for what one group's choice cannot set of another."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import check_yaml
from .words import list_search_path

if TYPE_CHECKING:
    from omegaconf import DictConfig

HOMES = Path(__file__).resolve().parents[1:3]  # of the package, with conf/ inside where it is installed, and the clone
CONF = next(home / "conf" for home in HOMES if (home / "conf").is_dir())


def read_experiment_choices(experiment: str, words: list[str]) -> dict[str, str]:
    """Return the choices of an experiment by group; {} where there is no such experiment."""
    from omegaconf import DictConfig

    entries = load_experiment(experiment, words).get("defaults", [])
    choices = [pair for entry in entries if isinstance(entry, DictConfig) for pair in entry.items()]
    return {str(group).removeprefix("override /"): choice for group, choice in choices}


def list_brought_words(experiment: str, words: list[str], chosen: Mapping[str, str]) -> list[str]:
    """Return the settings that the chosen values bring by the experiment's hydra.sweeper.brings, but for chosen ones.

    So a grid may hold networks of different recipes, and a single run of one of them has its own recipe, too.
    """
    from omegaconf import OmegaConf

    brings = OmegaConf.select(load_experiment(experiment, words), "hydra.sweeper.brings") or {}
    found = {}
    for word, settings in brings.items():
        key, _, value = str(word).partition("=")
        if chosen.get(key) == value:
            found.update({str(name): setting for name, setting in settings.items() if name not in chosen})
    return [f"{name}={'null' if setting is None else setting}" for name, setting in found.items()]


def load_experiment(name: str, words: list[str]) -> "DictConfig":
    """Load experiment/<name>.yaml of conf/ or of a folder of hydra.searchpath; return an empty node without one."""
    from omegaconf import DictConfig, OmegaConf

    files = [Path(folder, "experiment", f"{name}.yaml") for folder in (str(CONF), *list_search_path(words))]
    file = next((file for file in files if file.is_file()), None)
    content = OmegaConf.load(check_yaml(file)) if file else OmegaConf.create()
    if not isinstance(content, DictConfig):
        raise UserError(f"experiment={name}: {file} holds no settings by name")
    return content
