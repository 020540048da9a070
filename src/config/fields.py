"""Fields of the typed schema, and the checks that every part of it uses."""

from dataclasses import MISSING, Field, field, fields
from typing import Any

from ..errors import UserError


def setting(default: Any, help: str, *, identity: bool = True, choices: tuple[str, ...] = ()) -> Any:
    """A configuration field with its default, one line of help, and whether it is part of a run's identity."""
    metadata = {"help": help, "identity": identity, "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def default_of(f: "Field[Any]") -> Any:
    """The neutral default of a dataclass field."""
    return f.default_factory() if f.default_factory is not MISSING else f.default


def check_choices(config: Any, group: str) -> None:
    """Raise UserError where a field holds a value that its metadata does not list."""
    for f in fields(config):
        choices = f.metadata.get("choices")
        if choices and getattr(config, f.name) not in choices:
            raise UserError(
                f"{group}.{f.name}={getattr(config, f.name)!r} is not a choice; choose one of: {', '.join(choices)}"
            )


def require(condition: bool, message: str) -> None:
    """Raise UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)
