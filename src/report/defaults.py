"""Settings of stored runs: what each is where nobody chose it, and which of a run's make its result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from functools import lru_cache
from typing import Any

from ..config.choices import CHOICES, list_group_fields
from ..config.fields import get_neutral
from ..config.run import TrainConfig
from ..zoo.registry import rows

SHOWN_ELSEWHERE = {"seed", "protocol", "monitor_test", "task.name", "data.name", "model.name", "trainer.max_epochs"}


def find_nested(tree: object, name: str) -> object:
    """Return a leaf of nested mappings by its dotted name; None where it is missing."""
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def select_settings(config: Mapping[str, object], model: str) -> dict[str, object]:
    """Return the leaves of a stored configuration that make its result and differ from the defaults of its model."""
    defaults = list_default_settings(find_row_name(config, model))
    return {
        name: value
        for name, value in flatten(config)
        if name not in SHOWN_ELSEWHERE
        and not name.startswith("logger.")
        and not (name in defaults and value == defaults[name])
    }


def find_row_name(config: Mapping[str, object], model: str) -> str:
    """Return the registered row that holds a configuration's defaults: the model's own, else its family's."""
    return model if model in rows() else str(find_nested(config, "model.family") or "")


@lru_cache
def list_default_settings(model: str) -> dict[str, object]:
    """Return the value of each setting where nobody chose one; a setting that makes no result equals anything."""

    def walk(instance: object, prefix: str) -> Iterator[tuple[str, object]]:
        for f in fields(instance) if is_dataclass(instance) else ():
            value = getattr(instance, f.name)
            if f.name in CHOICES and not prefix:  # a choice has some of its group's settings
                for name, inner in list_group_fields(f.name).items():
                    yield f"{f.name}.{name}", find_neutral(f.name, inner) if inner.metadata["identity"] else Anything()
            elif is_dataclass(value):
                yield from walk(rows().get(model, value) if f.name == "model" else value, f"{prefix}{f.name}.")
            else:
                yield prefix + f.name, value if f.metadata["identity"] else Anything()

    return {"model.family": Anything(), **dict(walk(TrainConfig(), ""))}


def find_neutral(group: str, setting: "Field[object]") -> object:
    """Return the neutral value of a setting; where choices of the group share its name and not its value, any such."""
    kinds: Any = CHOICES[group].values()
    values = [get_neutral(f) for kind in kinds for f in fields(kind) if f.name == setting.name]
    return values[0] if all(value == values[0] for value in values) else AnyOf(values)


class AnyOf(str):
    """A word that is equal to each of several, and is written as the first."""

    values: list[object]

    def __new__(cls, values: Sequence[object]) -> "AnyOf":
        new = super().__new__(cls, values[0])
        new.values = list(values)
        return new

    def __eq__(self, other: object) -> bool:
        return other in self.values

    def __ne__(self, other: object) -> bool:
        return other not in self.values

    __hash__ = None  # type: ignore[assignment]


class Anything:
    """A value that is equal to every other."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def flatten(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the leaves of nested mappings with their dotted names."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def shorten_names(chosen: Mapping[str, object]) -> dict[str, object]:
    """Return settings by the last part of their names, as far as it says enough and no two share it."""
    leaves = [name.rpartition(".")[2] for name in chosen]
    short = {
        name: leaf for name, leaf in zip(chosen, leaves, strict=True) if leaves.count(leaf) == 1 and leaf != "name"
    }
    return {short.get(name, name): value for name, value in chosen.items()}


def format_settings(chosen: Mapping[str, object]) -> list[str]:
    """Write settings as they are typed, shortening long values."""
    texts = {name: format_value(value) for name, value in chosen.items()}
    return [f"{name}={text if len(text) <= 24 else text[:10] + '…' + text[-6:]}" for name, text in texts.items()]


def format_value(value: object) -> str:
    """Write a setting's value as it is typed."""
    if isinstance(value, list):
        return "[" + ",".join(map(format_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value) or "none"
