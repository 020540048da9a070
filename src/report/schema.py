"""Build dataclasses from the mappings of a YAML file, with OmegaConf checking every key and value.

A wrong entry raises a UserError that begins with the entry's place in the file: ``tables[0].rows[2].n: …``.
"""

from dataclasses import fields, is_dataclass
from typing import TypeVar, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import KeyValidationError, OmegaConfBaseException

from ..errors import UserError

T = TypeVar("T")


Number = float | int


Value = str | int | float | bool | None


WANTED: dict[object, str] = {  # what a field of this type takes, in words
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Number: "a number",
    Value: "a name, a number, true, false or null",
    list: "a list",
    dict: "a mapping",
}


def build_entry(kind: type[T], content: object, where: str = "", **given: object) -> T:
    """Build a dataclass from a mapping in the file; `given` are the fields that a file may not set.

    Lists and mappings of dataclasses are built entry by entry, because OmegaConf's errors don't say which entry is
    wrong. An entry of a mapping takes its key as its first field.
    """
    if not isinstance(content, dict):
        raise UserError(f"{where or 'the file'}: a mapping is needed")
    hints, schema, values = get_type_hints(kind), OmegaConf.structured(kind), dict(given)
    known = [name for name in hints if name not in given]
    for key, value in content.items():
        place = join(where, key)
        require(key in known, place, f"no such key; there are {', '.join(known)}")
        origin, inner = get_origin(hints[key]), (get_args(hints[key]) or (None,))[-1]
        if is_dataclass(hints[key]):
            values[key] = build_entry(hints[key], value, place)
        elif not (isinstance(inner, type) and is_dataclass(inner)):
            values[key] = convert(schema, key, value, where, hints[key])
        elif origin is list:
            require(isinstance(value, list), place, "a list is needed")
            values[key] = [build_entry(inner, item, f"{place}[{i}]") for i, item in enumerate(value)]
        else:
            name_of = fields(inner)[0].name
            require(isinstance(value, dict), place, "a mapping is needed")
            values[key] = {
                name: build_entry(inner, item, join(place, name), **{name_of: name}) for name, item in value.items()
            }
    for name in known:
        require(name in values or not OmegaConf.is_missing(schema, name), join(where, name), "is missing")
    return kind(**values)


def convert(schema: DictConfig, key: str, value: object, where: str, hint: object) -> object:
    """Return a value from the file, converted by OmegaConf to the type of a field of the schema."""
    try:
        with flag_override(schema, "readonly", False):  # OmegaConf makes frozen dataclasses read-only
            schema[key] = value
        found = schema[key]
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    except OmegaConfBaseException as error:
        inside = str(error.full_key or key)
        place = join(
            where, inside if inside.startswith(key) else f"{key}.{inside}"
        )  # the errors of unions lack the field's name
        if isinstance(error, KeyValidationError):
            raise UserError(f"{place}: a text is needed as the key") from None
        raise UserError(f"{place}: {describe_type(hint, within=inside != key)} is needed") from None


def describe_type(hint: object, *, within: bool) -> str:
    """Return in words what a field takes; with `within`, what each of its items must be."""
    if hint not in WANTED and type(None) in get_args(hint):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if within:
        hint = get_args(hint)[-1]
    if get_origin(hint) is list and get_origin(get_args(hint)[-1]) is dict:
        return "a list of mappings"
    return WANTED.get(hint) or WANTED[get_origin(hint)]


def join(where: str, key: object) -> str:
    """Return the place of a key in the file."""
    return f"{where}.{key}" if where else str(key)


def require(condition: bool, where: str, message: str) -> None:
    """Raise a UserError about this place in the file unless the condition holds."""
    if not condition:
        raise UserError(f"{where}: {message}")
