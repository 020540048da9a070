"""The registry of networks: a name leads to a typed row (an instance of its family's dataclass)."""

import difflib
from collections.abc import Iterable
from dataclasses import fields

from src.config import ModelConfig
from src.errors import UserError

_ROWS: dict[str, ModelConfig] = {}


def register(*rows: ModelConfig) -> None:
    """Add rows under their names; a name that is already taken raises ValueError with the list."""
    for row in rows:
        if row.name in _ROWS:
            raise ValueError(f"model {row.name!r} is registered twice; registered: {', '.join(_ROWS)}")
        _ROWS[row.name] = row


def rows() -> dict[str, ModelConfig]:
    """Every registered row by name, in the order of the table in ``src/models/variants.py``."""
    import src.models.variants  # noqa: F401  (fills the registry)

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


def store_models() -> None:
    """Make every row a choice of Hydra's group ``model``, type-checked by its family's dataclass."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, node in rows().items():
        store.store(group="model", name=name, node=node)


def unknown(group: str, name: str, known: Iterable[str]) -> str:
    """The sentence for an unknown name: the nearest known ones, or all of them where they are few."""
    known = sorted(known, key=natural)
    near = difflib.get_close_matches(name, known, n=6, cutoff=0.6)
    if len(known) <= 12:
        return f"{group}={name}: no such {group}; there are: {', '.join(known)}"
    hint = f"did you mean {', '.join(near)}?" if near else f"for instance {', '.join(known[:6])}"
    return f"{group}={name}: no such {group} among {len(known)}; {hint}"


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key that puts resnet20 before resnet110."""
    import re

    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", name) if part]
