"""Fields of the typed configuration, and the checks that every part of it uses."""

import math
import re
from collections.abc import Iterable
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SAME = object()
LARGEST = 1e30  # of a setting: 32-bit floats end at 3e38


def setting(
    default: Any, help: str, *, identity: bool = True, choices: tuple[str, ...] = (), neutral: object = SAME
) -> Any:
    """Make a configuration field with its default and one line of help.

    With `identity` it is part of a run's identity, and hashed where it differs from `neutral`. That is the default,
    unless the default was changed after runs had been named.
    """
    metadata = {"help": help, "identity": identity, "choices": choices}
    if neutral is not SAME:
        metadata["neutral"] = neutral
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def get_default(f: "Field[object]") -> object:
    """Return the default of a dataclass field."""
    return f.default_factory() if f.default_factory is not MISSING else f.default


def get_neutral(f: "Field[object]") -> object:
    """Return the value of a dataclass field that leaves no trace in a run's identity."""
    return f.metadata.get("neutral", get_default(f))


def check_choices(config: "DataclassInstance", group: str) -> None:
    """Raise UserError where a field holds a value that its metadata does not list."""
    for f in fields(config):
        choices = f.metadata.get("choices")
        if choices and getattr(config, f.name) not in choices:
            prefix = f"{group}." if group else ""
            raise UserError(
                f"{prefix}{f.name}={getattr(config, f.name)!r} is not a choice; choose one of: {', '.join(choices)}"
            )


def check_numbers(config: object, name: str = "") -> None:
    """Raise UserError where a number of this configuration is not finite or does not fit; `name` leads to it."""
    if is_dataclass(config):
        parts: Iterable[tuple[str, object]] = ((f"{name}.{f.name}", getattr(config, f.name)) for f in fields(config))
    elif isinstance(config, dict):
        parts = ((f"{name}.{key}", value) for key, value in config.items())
    elif isinstance(config, list):
        parts = ((name, value) for value in config)
    else:
        finite = not isinstance(config, float) or math.isfinite(config)
        require(finite, f"{name}={config}: a finite number is needed")
        countable = not isinstance(config, float) or abs(config) < LARGEST
        require(countable, f"{name}={config}: a number below {LARGEST:g} is needed")
        small = not isinstance(config, int) or abs(config) < 2**32
        require(small, f"{name}={str(config)[:24]}: a whole number below 2**32 is needed")
        return
    for part, value in parts:
        check_numbers(value, part.removeprefix("."))


def require(condition: bool, message: str) -> None:
    """Raise UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)


def check_pattern(pattern: str) -> None:
    """Raise UserError unless this is a regular expression with at most one group."""
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(
            f"data.group={pattern}: is no regular expression ({error}), and there is no data.table"
        ) from None
    require(
        groups <= 1 and pattern != "", f"data.group={pattern}: one part in brackets at most, such as 'patient(\\d+)'"
    )
