"""Put the words of a command line in order before Hydra reads them, and refuse those that could do harm."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..files import check_yaml, is_text
from ..text import quote
from .near import explain_no_flag

KEY = re.compile(r"[+~]*[A-Za-z_][\w./@-]*", re.ASCII)
TAKEN = re.compile(r"[\w/:.%+$*@?|\\ -]*", re.ASCII)  # by Hydra's grammar, without quotes
PATH = re.compile(r"\.{0,2}/")
FOLDERS = ("output_root", "hydra.run.dir", "hydra.sweep.dir")


def prepare_words(words: Sequence[str]) -> list[str]:
    """Return the words with all settings before all flags, which Hydra needs; raise UserError for wrong flags."""
    from hydra._internal.utils import get_args_parser

    if odd := next((word for word in words if not is_text(word)), None):
        raise UserError(f"{odd!a}: has bytes that are no UTF-8; rename what it names")
    parser = get_args_parser()

    def refuse(message: str) -> None:
        raise UserError(f"{message} (flags: python -m src.train --hydra-help)")

    parser.error = refuse  # type: ignore[method-assign,assignment]
    parsed, others = parser.parse_known_args(list(words))
    if flags := [word for word in others if word.startswith("-")]:
        following = list(words)[words.index(flags[0]) + 1 :]
        if said := explain_no_flag(flags[0], (following or [""])[0]):
            raise UserError(said)
        refuse(f"{flags[0]}: no such flag")
    if parsed.config_path or parsed.config_name or parsed.experimental_rerun:
        refuse("--config-path, --config-name, --experimental-rerun: not for this project; type --config-dir=<folder>")
    if len([name for name in ("multirun", "run", "cfg", "info", "shell_completion") if getattr(parsed, name)]) > 1:
        refuse("--multirun, --run, --cfg, --info, --shell-completion: type one of them")
    if parsed.resolve and not parsed.cfg:
        refuse("--resolve: goes with --cfg")
    if parsed.config_dir and not Path(parsed.config_dir).is_dir():
        refuse(f"--config-dir={parsed.config_dir}: no such folder")
    settings, rest = [*parsed.overrides, *others], list(words)
    for word in settings:
        rest.remove(word)
    check_settings(settings)
    check_folders([*list_search_path(settings), *([parsed.config_dir] if parsed.config_dir else [])])
    return [*settings, *rest] if others else list(words)


def check_settings(words: Sequence[str]) -> None:
    """Refuse folders without a name, and what would put files of Hydra's into a run directory; raise UserError."""
    for word in words:
        key, equals, value = word.lstrip("+").partition("=")
        if equals and not key:
            raise UserError(f"{word}: must have the form key=value")
        if equals and key in FOLDERS and not value.strip(" '\""):
            raise UserError(f"{word}: name a folder")
        if key == "hydra.output_subdir" and value.lower() != "null":
            raise UserError(f"{word}: a run directory has its config.yaml already; leave this out")


def list_search_path(words: Sequence[str]) -> list[str]:
    """Return the folders that ``hydra.searchpath=[…]`` adds."""
    values = [word.split("=", 1)[1] for word in words if word.lstrip("+").startswith("hydra.searchpath=")]
    names = [name.strip(" '\"") for value in values for name in value.strip("[]").split(",")]
    return [name.removeprefix("file://") for name in names if name and "pkg://" not in name]


def check_folders(folders: Sequence[str]) -> None:
    """Refuse a folder of configurations that is not there, or holds a file that would take for ever to read."""
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"hydra.searchpath: {folder}: no such folder")
        for file in Path(folder).rglob("*.yaml"):
            check_yaml(file)


def quote_values(words: Sequence[str]) -> list[str]:
    """Quote the values that Hydra would not take as they are, though they can mean nothing but themselves.

    These are texts with a "=", as Lightning's names of checkpoints, and paths with any sign but a comma or a bracket.
    """
    return [quote_value(word) for word in words]


def quote_value(word: str) -> str:
    """Quote the value of one word, where that is needed and it has no grammar of its own: lists, calls, ${…}."""
    key, equals, value = word.partition("=")
    is_plain = not re.search(r"[,'\"\[\]{}]|\$\{", value) and (PATH.match(value) or not re.search(r"[()]", value))
    if not equals or not KEY.fullmatch(key) or not is_plain or TAKEN.fullmatch(value):
        return word
    return f"{key}={quote(value)}"
