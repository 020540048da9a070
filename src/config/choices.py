"""The choices of the config groups ``data``, ``task``, ``optim`` and ``logger``: a dataclass each, by its name.

A choice is a type: it has only its own settings, and the room that builds it asks for the type. ``conf/<group>/*.yaml``
build on the nodes ``base_<choice>``; a choice of a plug-in without such a file is a choice of the group as it stands.
"""

from dataclasses import Field, fields
from typing import Any, ClassVar, TypeVar

from ..errors import UserError
from ..text import unknown

GROUPS = ("data", "task", "optim", "logger")
CHOICES: dict[str, dict[str, type["Choice"]]] = {group: {} for group in GROUPS}


class Choice:
    """What the choices of all groups have in common."""

    config_group: ClassVar[str]
    choice: ClassVar[str] = ""  # the name it is registered under; "" for the base of a group


BUILDERS: dict[type["Choice"], Any] = {}  # of plug-ins: how their room builds a choice
RECIPES: dict[str, dict[str, Any]] = {}  # of plug-ins, by "<data>_<task>"
Kind = TypeVar("Kind", bound=type[Choice])


def register_choice(kind: Kind) -> Kind:
    """Add a choice to its group, as a decorator; ValueError where its name is taken."""
    known = CHOICES[kind.config_group]
    if known.get(kind.choice, kind) is not kind:
        raise ValueError(f"{kind.config_group}={kind.choice} is registered twice; registered: {', '.join(known)}")
    known[kind.choice] = kind
    return kind


def register_recipe(data: str, task: str, /, *, optim: str, **settings: dict[str, Any]) -> None:
    """Add the recipe of a pair of a data set and a task: an optimizer of conf/optim, and settings by group."""
    RECIPES[f"{data}_{task}"] = {"defaults": [{"/optim": optim}], **settings}


def find_builder(choice: Choice) -> Any:
    """Return how a plug-in builds this choice; UserError where nothing does."""
    if type(choice) not in BUILDERS:
        group = choice.config_group
        raise UserError(f"{group}={choice.choice}: nothing builds it; a plug-in registers it by api.register_{group}")
    return BUILDERS[type(choice)]


def find_choice(group: str, name: str) -> type[Choice]:
    """Return the choice of this name; an unknown one raises UserError with the list."""
    if name not in CHOICES[group]:
        raise UserError(unknown(group, name, CHOICES[group]))
    return CHOICES[group][name]


def list_group_fields(group: str) -> dict[str, "Field[Any]"]:
    """Return the settings that any choice of the group has, by name."""
    kinds: Any = CHOICES[group].values()
    return {f.name: f for kind in kinds for f in fields(kind)}


def check_name(config: Any) -> None:
    """Raise UserError where a choice bears another one's name."""
    if config.choice and config.name != config.choice:
        raise UserError(
            f"{config.config_group}.name={config.name}: these settings are those of "
            f"{config.config_group}={config.choice}; choose another by {config.config_group}=<name>"
        )
