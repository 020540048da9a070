"""Explain every error in one clear sentence, in place of the long messages of Hydra and OmegaConf."""

import difflib
import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from ..config.choices import CHOICES
from ..errors import UserError
from ..files import explain_os_error
from ..text import clip_lines, describe_unknown, take_first_line
from .compose import CONF, list_group_choices

WANTED = {  # OmegaConf's reasons for refusing a value, and what the user must type
    "to Float": "a number is needed",
    "to Integer": "a whole number is needed",
    "not a valid bool": "true or false is needed",
    "is not a ListConfig": "a list is needed, such as [a,b]",
}


def explain_error(error: BaseException, words: Sequence[str] | None = None) -> str:
    """Explain an error to a person in at most twelve lines; `words` are those of the command line."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if wrong := next((e for e in list_causes(error) if isinstance(e, UserError)), None):
        return str(wrong)
    if isinstance(error, MissingConfigException):
        return explain_missing_choice(error.missing_cfg_file or "")
    if isinstance(error, OverrideParseException):
        return f"{error.override}: must have the form key=value ({take_first_line(error.message)})"
    cause = next((e for e in list_causes(error) if isinstance(e, OmegaConfBaseException)), None)
    if cause is not None:
        return explain_wrong_setting(str(error), cause, sys.argv[1:] if words is None else words)
    if isinstance(error, HydraException):
        return clip_lines(str(error))
    if isinstance(error, OSError):
        return explain_os_error(error)
    if type(error).__module__.startswith("wandb"):
        return f"W&B: {take_first_line(str(error))} Work offline with logger.mode=offline, or without W&B: logger=csv."
    name = type(error).__name__
    return clip_lines(f"{name}: {error}" if str(error) else name) + "\n(debug=true shows the traceback)"


def list_causes(error: BaseException) -> list[BaseException]:
    """Return the error, its cause, the cause's cause, and so on."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) is not None and cause not in found:
        found.append(cause)
    return found


def explain_missing_choice(path: str) -> str:
    """Return the sentence for `group=name` where the group has no such name."""
    group, _, name = path.removesuffix(".yaml").rpartition("/")
    group = group.lstrip("/")
    if not (CONF / group).is_dir() or not group:
        return f"{path}: no such configuration in conf/"
    if group == "recipe":
        known = list_group_choices("recipe")
        task = next((task for task in list_group_choices("task") if name.endswith(f"_{task}")), "")
        data = name.removesuffix(f"_{task}")
        if data not in list_group_choices("data"):
            return describe_unknown("data", data, list_group_choices("data"))
        if tasks := [recipe.removeprefix(f"{data}_") for recipe in known if recipe.startswith(f"{data}_")]:
            return f"data={data} task={task}: data={data} is for task={', '.join(tasks)}"
        return f"data={data} task={task}: no recipe for this pair; add conf/recipe/{name}.yaml"
    hint = " (python -m src.models lists them all)" if group == "model" else ""
    return describe_unknown(group, name, list_group_choices(group)) + hint


def explain_other_choice(key: str, kind: Any, leaf: str) -> str:
    """Return the sentence for a setting that only other choices of its group have, or "" where none has it."""
    if key == "logger.wandb":
        typed_words = [word.partition("=")[0] for word in sys.argv[1:] if ".wandb." in word]
        return f"{(typed_words or [key])[0].replace('.wandb.', '.')}: a setting of logger=wandb; add that"
    group = getattr(kind, "config_group", "")
    owners = [name for name, other in CHOICES.get(group, {}).items() if leaf in {f.name for f in fields(other)}]  # type: ignore[arg-type]
    return f"{key}: a setting of {group}={' or '.join(owners)}; {group}={kind.choice} has none" if owners else ""


def explain_wrong_setting(text: str, cause: Any, words: Sequence[str]) -> str:
    """Return the sentence for a key that does not exist or a value of the wrong type."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, ValidationError

    key = str(getattr(cause, "full_key", "") or "")
    reason = take_first_line(str(cause))
    if isinstance(cause, MissingMandatoryValue):
        return f"{key}: a value is needed"
    space = next((w for w in words if w.lstrip("+").startswith("hpo.space")), None)
    if space and (key.startswith("hpo.space") or "RangeConfig" in reason):
        return (
            f"{space}: type '+hpo.space={{optim.momentum:{{low:0.8,high:0.99}}}}' to add a setting to the search; "
            "without + it changes one of the file in conf/hpo"
        )
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        parent, _, leaf = key.rpartition(".")
        kind = cause.object_type if is_dataclass(cause.object_type) else None
        if elsewhere := explain_other_choice(key, kind, leaf):
            return elsewhere
        known = [f.name for f in fields(kind)] if kind else []
        stem = f"{parent}." if parent else ""
        near = difflib.get_close_matches(leaf, known, n=3)
        if near:
            return f"{key}: no such setting; did you mean {', '.join(stem + n for n in near)}?"
        return f"{key}: no such setting; {parent or 'the top level'} has: {', '.join(known)}"
    if isinstance(cause, ValidationError):
        typed_word = next((w for w in words if w.lstrip("+").startswith(f"{key}=")), key)
        wanted = next((text for word, text in WANTED.items() if word in reason), reason)
        return f"{typed_word}: {wanted}"
    return clip_lines(f"{take_first_line(text)} {reason}")
