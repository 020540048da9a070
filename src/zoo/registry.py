"""The registry of networks: a name leads to a typed row (an instance of its family's dataclass)."""

from dataclasses import fields

from ..config.model import ModelConfig
from ..errors import UserError
from ..text import unknown

_ROWS: dict[str, ModelConfig] = {}


def register(*rows: ModelConfig) -> None:
    """Add rows under their names; a name that is already taken raises ValueError with the list."""
    for row in rows:
        if row.name in _ROWS:
            raise ValueError(f"model {row.name!r} is registered twice; registered: {', '.join(_ROWS)}")
        _ROWS[row.name] = row


def rows() -> dict[str, ModelConfig]:
    """Every registered row by name, in the order of the table in ``src/zoo/variants.py``."""
    return dict(_ROWS)


def row(name: str) -> ModelConfig:
    """The row of this name; an unknown one raises UserError with the near names and where the list is."""
    known = rows()
    if name not in known:
        raise UserError(unknown("model", name, known) + " (python -m src.models lists them all)")
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
        told = [dial for dial in dials if dial == "depth" or getattr(config, dial) != getattr(own, dial)]
        raise UserError(
            f"model.{first}={getattr(config, first)}: {config.name} is the published network and its {first} "
            f"is {getattr(published, first)}; set it on the family: model={config.family} "
            + " ".join(f"model.{dial}={getattr(config, dial)}" for dial in told)
        )
