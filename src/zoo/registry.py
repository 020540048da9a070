"""The registry of networks: a name leads to a typed row, an instance of its family's dataclass."""

from collections.abc import Callable
from dataclasses import fields

from ..config.model import ModelConfig
from ..errors import UserError
from ..files import check_folder_name
from ..text import describe_unknown

_ROWS: dict[str, ModelConfig] = {}

_BUILDERS: dict[type[ModelConfig], Callable[..., object]] = {}


def register(*rows: ModelConfig) -> None:
    """Add rows under their names; raise ValueError where a name is already taken, UserError where it is none."""
    for row in rows:
        check_folder_name("model", row.name)
        if row.name in _ROWS:
            raise ValueError(f"model {row.name!r} is registered twice; registered: {', '.join(_ROWS)}")
        _ROWS[row.name] = row


def register_family(kind: type[ModelConfig], build: Callable[..., object]) -> None:
    """Let ``build(config, in_channels=, num_classes=)`` build the rows of a family from outside the project.

    It returns a torch module: images [N, in_channels, H, W] -> logits [N, num_classes]. Raises ValueError where the
    family has a builder already.
    """
    if kind in _BUILDERS:
        raise ValueError(f"the family {kind.__name__} is registered twice")
    _BUILDERS[kind] = build


def find_builder(kind: type[ModelConfig]) -> Callable[..., object] | None:
    """Return what ``register_family`` was given for this dataclass or its nearest base; None where that is nothing."""
    return next((_BUILDERS[base] for base in kind.__mro__ if base in _BUILDERS), None)


def rows() -> dict[str, ModelConfig]:
    """Return every registered row by name, in the order of the table in ``src/zoo/variants.py``."""
    return dict(_ROWS)


def row(name: str) -> ModelConfig:
    """Return the row of this name; raise UserError with the nearest names where there is none."""
    known = rows()
    if name not in known:
        raise UserError(describe_unknown("model", name, known) + " (python -m src.models lists them all)")
    return known[name]


def check_sealed(config: ModelConfig) -> None:
    """Raise UserError where a config bears the name of a published network but is another one.

    The sentence ends with the overrides that build it from the family's own row: the depth always, the other
    dials where they differ from that row's.
    """
    published = _ROWS.get(config.name)
    if published is None or config.name == config.family:
        return
    if type(published) is not type(config):
        raise UserError(
            f"model.name={config.name}: that is a network of the family {published.family}, not of "
            f"{config.family}; choose it with model={config.name}, or another name"
        )

    dials = [f.name for f in fields(config) if f.metadata.get("dial")]
    changed = [dial for dial in dials if getattr(config, dial) != getattr(published, dial)]
    if changed:
        own, first = _ROWS[config.family], changed[0]
        typed = [dial for dial in dials if dial == "depth" or getattr(config, dial) != getattr(own, dial)]
        raise UserError(
            f"model.{first}={getattr(config, first)}: {config.name} is the published network and its {first} "
            f"is {getattr(published, first)}; set it on the family: model={config.family} "
            + " ".join(f"model.{dial}={getattr(config, dial)}" for dial in typed)
        )
