"""The choices of the config groups ``data``, ``task``, ``optim`` and ``logger``: a dataclass each, by its name.

A choice is a type: it has only its own settings, and the package that builds it matches on the type. The files
``conf/<group>/*.yaml`` build on the nodes ``base_<choice>``; a plug-in's choice without a file is offered by its name.
"""

from dataclasses import Field, fields
from typing import Any, ClassVar, TypeVar

from ..errors import UserError
from ..files import check_folder_name
from ..text import describe_unknown

GROUPS = ("data", "task", "optim", "logger")
CHOICES: dict[str, dict[str, type["Choice"]]] = {group: {} for group in GROUPS}


class Choice:
    """Base of the choices of all groups."""

    config_group: ClassVar[str]
    choice: ClassVar[str] = ""  # the name it is registered under; "" for the base of a group


BUILDERS: dict[type["Choice"], Any] = {}  # of plug-ins: the functions that build their choices
RECIPES: dict[str, dict[str, object]] = {}  # of plug-ins, by "<data>_<task>"
Kind = TypeVar("Kind", bound=type[Choice])


def register_choice(kind: Kind) -> Kind:
    """Add a choice to its group, as a decorator; raise ValueError where its name is taken, UserError for no name."""
    check_folder_name(kind.config_group, kind.choice)
    known = CHOICES[kind.config_group]
    if known.get(kind.choice, kind) is not kind:
        raise ValueError(f"{kind.config_group}={kind.choice} is registered twice; registered: {', '.join(known)}")
    known[kind.choice] = kind
    return kind


def register_recipe(data: str, task: str, /, *, optim: str, **settings: dict[str, object]) -> None:
    """Add the recipe of a pair of a data set and a task: an optimizer of conf/optim, and settings by group."""
    RECIPES[f"{data}_{task}"] = {"defaults": [{"/optim": optim}], **settings}


def find_builder(choice: Choice) -> Any:
    """Return the function with which a plug-in builds this choice; raise UserError where there is none."""
    if type(choice) not in BUILDERS:
        group = choice.config_group
        raise UserError(
            f"{group}={choice.choice}: nothing builds it; in a plug-in, call src.api.register_{group} with build=…"
        )
    return BUILDERS[type(choice)]


def find_choice(group: str, name: str) -> type[Choice]:
    """Return the choice of this name; raise UserError, with a list, where there is none."""
    if name not in CHOICES[group]:
        raise UserError(describe_unknown(group, name, CHOICES[group]))
    return CHOICES[group][name]


def list_group_fields(group: str) -> dict[str, "Field[object]"]:
    """Return the settings of all choices of a group, by name."""
    kinds: Any = CHOICES[group].values()
    return {f.name: f for kind in kinds for f in fields(kind)}


def check_name(config: Any) -> None:
    """Raise UserError where a choice has the name of another one."""
    if config.choice and config.name != config.choice:
        raise UserError(
            f"{config.config_group}.name={config.name}: the other settings are those of "
            f"{config.config_group}={config.choice}; choose by {config.config_group}=<name>"
        )
