"""Explain every error in one clear sentence, in place of the long messages of Hydra, OmegaConf and the system."""

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from ..config.choices import CHOICES
from ..errors import UserError
from ..files import explain_os_error
from ..text import clip_lines, quote, take_first_line
from .compose import CONF, list_group_choices
from .near import explain_unknown_choice, find_setting, name_setting, suggest_setting

WANTED = {  # OmegaConf's reasons for refusing a value, and what the user must type
    "to Float": "a number is needed",
    "to Integer": "a whole number is needed",
    "not a valid bool": "true or false is needed",
    "is not a ListConfig": "a list is needed, such as [a,b]",
    "to Dict": "settings by name are needed, such as {a:1}",
    "to Mapping": "settings by name are needed, such as {a:1}",
    "to string": "one word is needed",
    "is not Optional": "a value is needed",
}
HYDRA_SAYS = {  # what Hydra says of a word of the command line, and what the user must type
    r"Ambiguous value for argument '(.*)'": "{}: several values are a sweep: add -m; a list is typed as key=[a,b]",
    r"Sweep parameters '(.*)' requires --multirun": "{}: several values are a sweep: add -m",
    r"Could not delete from config. '(.*)' does not exist": "~{}: no such setting",
    r"Error merging override (~\S*)": "{}: cannot be left out; type another value instead",
    r"You must specify '(.*)'": "{}: a choice is needed",
    r"(\S*) appears more than once in the final defaults list": "{0}: is chosen already; type {0}=… without +",
    r"Config group override must be a string or a list": "{}: a name is needed",
    r"hydra.searchpath must be a list": "{}: a list is needed, such as [a,b]",
    r"In '(.*)': Overriding hydra.searchpath": "{}.yaml: hydra.searchpath is for the command line; type it there",
}


def explain_error(error: BaseException, words: Sequence[str] | None = None) -> str:
    """Explain an error to a person in at most twelve lines; `words` are those of the command line."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    words = sys.argv[1:] if words is None else words
    if wrong := next((e for e in list_causes(error) if isinstance(e, UserError)), None):
        return str(wrong)
    if isinstance(error, MissingConfigException):
        return explain_missing_choice(error.missing_cfg_file or "")
    if isinstance(error, OverrideParseException):
        return explain_wrong_word(str(error.override))
    if said := explain_hydra(str(error), words):
        return said
    if isinstance(error, RecursionError):
        return "A value of the configuration, or an alias (*name) of its YAML, leads to itself."
    cause = next((e for e in list_causes(error) if isinstance(e, OmegaConfBaseException)), None)
    if cause is not None:
        return explain_wrong_setting(cause, words)
    if text := explain_file(error):
        return text
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return (
            "Out of memory: the network or its images do not fit; lower model.width, data.image_size or data.batch_size"
        )
    if isinstance(error, OverflowError):
        key = getattr(error, "full_key", None) or find_key(str(error))
        where = f"{key}: " if key else "A setting: "
        return f"{where}the number is too large to count with; type a smaller one"
    if is_from_hydra(error):
        return clip_lines(str(error))
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


def is_from_hydra(error: BaseException) -> bool:
    """Return True for an error that Hydra's own code has raised, which is about the command line."""
    from hydra.errors import HydraException

    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace else ""
    return isinstance(error, HydraException) or module.partition(".")[0] in ("hydra", "omegaconf")


def explain_file(error: BaseException) -> str:
    """Return the sentence about a file that cannot be read or written, or "" for another error."""
    from yaml import MarkedYAMLError

    if isinstance(error, OSError):
        return explain_os_error(error)
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        return f"{mark.name}, line {mark.line + 1}: is no YAML ({error.problem or error.context})"
    if isinstance(error, UnicodeDecodeError):
        return f"A file that should be text is none, or not in UTF-8 ({error.reason} at byte {error.start})."
    return ""


def explain_wrong_word(word: str) -> str:
    """Return the sentence for a word of the command line that is not of Hydra's grammar."""
    key, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"[+~]*[A-Za-z_][\w./@-]*", key):
        return f"{word}: must have the form key=value"
    return (
        f'{word}: not of the form key=value, key=[a,b] or key={{a:1}}; other text needs quotes: "{key}={quote(value)}"'
    )


def explain_hydra(text: str, words: Sequence[str]) -> str:
    """Return our sentence for what Hydra says of a word of the command line, or "" where it says something else."""
    for pattern, sentence in HYDRA_SAYS.items():
        if found := re.search(pattern, text):
            named = found[1] if found.groups() else find_unnamed(words)
            return sentence.format(named)
    return ""


def find_unnamed(words: Sequence[str]) -> str:
    """Return the word that names no choice although its group or list needs one, such as ``model=null``."""
    keys = ("hydra.searchpath", *list_groups())
    values = [word for word in words if word.lstrip("+").partition("=")[0] in keys]
    wrong = [word for word in values if not re.match(r"[A-Za-z_\['\"]", word.partition("=")[2]) or "=null" in word]
    return next(iter([*wrong, *values]), "the command line")


def list_groups() -> list[str]:
    """Return the names of the config groups."""
    return sorted({path.name for path in CONF.iterdir() if path.is_dir()} | CHOICES.keys() | {"model", "recipe"})


def explain_missing_choice(path: str) -> str:
    """Return the sentence for `group=name` where the group has no such name."""
    path = path.removesuffix(".yaml").lstrip("/")
    group, _, name = path.partition("/")
    if group == "hydra" and name.partition("/")[2]:
        return f"{path.rpartition('/')[0]}={path.rpartition('/')[2]}: no such choice of Hydra or of this project"
    if group not in list_groups():
        return f"{path or 'the configuration'}: no such configuration in conf/"
    if group == "recipe":
        known = list_group_choices("recipe")
        task = next((task for task in list_group_choices("task") if name.endswith(f"_{task}")), "")
        data = name.removesuffix(f"_{task}")
        if data not in list_group_choices("data"):
            return explain_unknown_choice("data", data, list_group_choices("data"))
        if tasks := [recipe.removeprefix(f"{data}_") for recipe in known if recipe.startswith(f"{data}_")]:
            return f"data={data} task={task}: data={data} is for task={', '.join(tasks)}"
        return f"data={data} task={task}: no recipe for this pair; add conf/recipe/{name}.yaml"
    hint = " (python -m src.models lists them all)" if group == "model" else ""
    return explain_unknown_choice(group, name, list_group_choices(group)) + hint


def explain_other_choice(key: str, kind: Any, leaf: str) -> str:
    """Return the sentence for a setting that only other choices of its group have, or "" where none has it."""
    if key == "logger.wandb":
        typed_words = [word.partition("=")[0] for word in sys.argv[1:] if ".wandb." in word]
        return f"{(typed_words or [key])[0].replace('.wandb.', '.')}: a setting of logger=wandb; add that"
    group = getattr(kind, "config_group", "")
    owners = [name for name, other in CHOICES.get(group, {}).items() if leaf in {f.name for f in fields(other)}]  # type: ignore[arg-type]
    return f"{key}: a setting of {group}={' or '.join(owners)}; {group}={kind.choice} has none" if owners else ""


def explain_wrong_setting(cause: Any, words: Sequence[str]) -> str:
    """Return the sentence for a key that does not exist or a value of the wrong type."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, ValidationError

    key = str(getattr(cause, "full_key", "") or "")
    reason = take_first_line(str(cause))
    typed_word = next((w for w in words if w.lstrip("+").startswith(f"{key}=")), key)
    if isinstance(cause, MissingMandatoryValue):
        return f"{key}: a value is needed"
    space = next((w for w in words if w.lstrip("+").startswith("hpo.space")), None)
    if space and (key.startswith("hpo.space") or "RangeConfig" in reason):
        return (
            f"{space}: type '+hpo.space={{optim.momentum:{{low:0.8,high:0.99}}}}' to add a setting to the search; "
            "without + it changes one of the file in conf/hpo"
        )
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return explain_unknown_key(key, cause.object_type, typed_word.partition("=")[2] or "…")
    if isinstance(cause, ValidationError):
        wanted = next((text for word, text in WANTED.items() if word in reason), reason)
        return f"{typed_word}: {wanted}"
    return explain_interpolation(typed_word, cause)


def explain_unknown_key(key: str, owner: Any, value: str) -> str:
    """Return the sentence for a key, typed with this value, that its owner, a dataclass, lacks."""
    parent, _, leaf = key.rpartition(".")
    kind = owner if is_dataclass(owner) else None
    if elsewhere := explain_other_choice(key, kind, leaf):
        return elsewhere
    known = [f.name for f in fields(kind)] if kind else []
    stem = f"{parent}." if parent else ""
    if not parent and (meant := find_setting(leaf)):
        return f"{key}: no such setting; did you mean {name_setting(meant, value)}?"
    near = difflib.get_close_matches(leaf, known, n=3)
    if near:
        return f"{key}: no such setting; did you mean {', '.join(stem + n for n in near)}?"
    if (meant := suggest_setting(leaf)) and meant != key:
        return f"{key}: no such setting; did you mean {name_setting(meant, value)}?"
    has = f"; {parent or 'the top level'} has: {', '.join(known)}" if known else ""
    return f"{key}: no such setting{has}"


def explain_interpolation(typed_word: str, cause: Any) -> str:
    """Return the sentence for a ${…} that names nothing, or for another error of OmegaConf."""
    from omegaconf.errors import GrammarParseError, InterpolationKeyError, InterpolationResolutionError

    reason = take_first_line(str(cause))
    where = typed_word or "the configuration"
    if isinstance(cause, InterpolationKeyError):
        name = reason.partition("'")[2].partition("'")[0]
        return f"{where}: ${{{name}}} names no setting"
    if isinstance(cause, InterpolationResolutionError | GrammarParseError):
        inner = next((str(e) for e in list_causes(cause)[1:] if str(e)), reason).strip("'\"")
        return f"{where}: ${{…}} cannot be resolved ({take_first_line(inner)})"
    return f"{where}: {reason}"


def find_key(text: str) -> str:
    """Return the setting that a library's error names in a line of its own, or ""."""
    found = re.search(r"^\s*full_key: (\S+)", text, re.MULTILINE)
    return found[1] if found else ""
