"""Complete the words of a command line on Tab, from the registry and the schema alone, which takes a tenth of a second.

A shell asks ``residual --complete "<the line up to the cursor>"``, and gets words, one a line; none means files.
"""

import re
import shlex
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ..config.choices import CHOICES, list_group_fields
from ..config.run import TrainConfig
from ..errors import UserError
from ..zoo.registry import rows
from .commands import OWN, find_commands
from .compose import CONF, list_group_choices
from .console import PACKAGE
from .scripts import SCRIPTS

GROUPS = ("model", "data", "task", "recipe", "optim", "finetune", "trainer", "logger", "experiment", "hpo")
RUNS = ("run", "resume", "model.weights")  # settings that name a run
OTHERS = {"study": "published"}  # of other commands, and the folder of conf/ that has their values
FLAGS = ("-m", "--help", "--version")
LATEST = 20  # runs to choose from


def print_completions(words: list[str]) -> int:
    """Print the words that could stand at the end of a command line."""
    print("\n".join(complete_line(words[0] if words else "")))
    return 0


def print_script(words: list[str]) -> int:
    """Print what a shell reads to complete our words; raise UserError for another shell than bash, zsh and fish."""
    if len(words) != 1 or words[0] not in SCRIPTS:
        typed = words[0] if words else "completion"
        raise UserError(f"{typed}: name your shell: python -m src completion bash, zsh or fish")
    print(SCRIPTS[words[0]]["residual" if PACKAGE == "residual" else "python"])
    return 0


def complete_line(line: str) -> list[str]:
    """Return the words that could stand in place of the last one of a command line."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quote is still open
        words = re.sub("['\"]", "", line).split()
    current = "" if not words or line[-1:].isspace() else words.pop()
    command, rest = find_command(words)
    if command is None:
        if "-m" in words:  # of Python
            return [f"src.{name}" for name in find_commands() if f"src.{name}".startswith(current)]
        return [name for name in [*find_commands(), *OWN] if name.startswith(current)]
    return [word for word in offer(command, rest, current) if word.startswith(current)]


def find_command(words: list[str]) -> tuple[str | None, list[str]]:
    """Return the command that a line names, None before that, and the words behind it."""
    if "-m" in words and Path(words[0]).name.startswith("python"):
        place = words.index("-m") + 1
        module = words[place] if place < len(words) else ""
        if "." in module:
            return module.partition(".")[2], words[place + 1 :]
        words = words[place:]
    return (words[1], words[2:]) if len(words) > 1 else (None, [])


def offer(command: str, before: list[str], current: str) -> list[str]:
    """Return the words that a command could get, with the beginning of the current one."""
    key, equals, value = current.partition("=")
    if command == "completion":
        return list(SCRIPTS)
    if command == "models":
        return [*rows(), "--json"]
    if equals:
        head = f"{key}={value[: max(map(value.rfind, ',[')) + 1]}"
        return [head + name for name in list_values(key.lstrip("+"))]
    if command == "train":
        return [*list_keys(current), *(flag for flag in FLAGS if current.startswith("-") and flag not in before)]
    return [*list_words(command), *(list_keys(current) if command in ("evaluate", "predict", "mistakes") else [])]


def list_words(command: str) -> list[str]:
    """Return the words with a "=" of another command, which its file's first lines name."""
    file = find_commands().get(command)
    text = file.read_text().split('"""')[1] if file else ""
    return list(dict.fromkeys(re.findall(r"(?<![\w.\[])\[?([a-z][\w.]*=)", text)))


def list_keys(current: str) -> list[str]:
    """Return the groups and settings that a key could become: those of a group once its dot is typed."""
    group, dot, _ = current.lstrip("+").partition(".")
    if dot:
        return [f"{current[: len(current) - len(current.lstrip('+'))]}{name}=" for name in find_fields(group)]
    plain = [f"{f.name}=" for f in fields(TrainConfig) if f.name not in GROUPS]
    return [*(f"{name}=" for name in GROUPS), *(f"{name}." for name in GROUPS if find_fields(name)), *plain]


def find_fields(group: str) -> dict[str, Any]:
    """Return the fields of a group's settings, by dotted name."""
    if group == "model":
        found = {f.name: f for row in rows().values() for f in fields(row)}
    elif group in CHOICES:
        found = list_group_fields(group)
    else:
        kinds = [f.type for f in fields(TrainConfig) if f.name == group and is_dataclass(f.type)]
        found = {f.name: f for kind in kinds for f in fields(kind)}
    return {f"{group}.{name}": f for name, f in found.items() if name != "name"}


def list_values(key: str) -> list[str]:
    """Return the values that a setting has to choose from; [] for a path, a number or a text."""
    if key in GROUPS:
        return list_group_choices(key)
    if key in OTHERS:
        return sorted(path.stem for path in (CONF / OTHERS[key]).glob("*.yaml"))
    if key in RUNS:
        return ["last", "best:val/accuracy", *list_latest_runs()]
    if key == "split":
        return ["test", "val", "train"]
    known = find_fields(key.partition(".")[0]) | {f.name: f for f in fields(TrainConfig)}
    field = known.get(key)
    if field is None:
        return []
    return list(field.metadata.get("choices") or ()) or (["true", "false"] if field.type in (bool, "bool") else [])


def list_latest_runs() -> list[str]:
    """Return the paths of the latest runs below outputs/."""
    found = [path for pattern in ("*", "*/*", "*/*/*") for path in Path("outputs").glob(f"{pattern}/run.json")]
    found.sort(key=lambda path: -path.stat().st_mtime)
    return [str(path.parent) for path in found[:LATEST]]
