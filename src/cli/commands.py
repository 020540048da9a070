"""The commands: a file or package each, found by looking, so that a new one is offered at once. Imports nothing else.

``python -m src.train`` and ``python -m src train`` are the same; installed, it is ``residual train``.
"""

import ast
import difflib
import os
import runpy
import sys
from pathlib import Path

from ..errors import UserError
from .console import PACKAGE, name_commands, show_page

HOME = Path(__file__).resolve().parents[1]
FIRST = (
    "train",
    "runs",
    "evaluate",
    "predict",
    "mistakes",
    "report",
    "models",
    "watch",
    "export",
    "pack",
)  # shown first
OWN = {"completion": "Print what lets bash, zsh or fish complete our words on Tab"}


def run_command() -> int:
    """Run the command that the first word names, in this process, or list all."""
    words = sys.argv[1:]
    if not words or words[0] in ("--help", "-h", "help"):
        show_page(format_commands())
        return 0
    name, rest = words[0], words[1:]
    if not is_command(name):
        raise UserError(explain_no_command(name, rest))
    sys.argv[1:] = rest
    if PACKAGE == "residual":  # of the processes that it starts, none finds modules where the command was typed
        os.environ.setdefault("PYTHONSAFEPATH", "1")
    runpy.run_module(f"{PACKAGE}.{name}", run_name="__main__", alter_sys=True)
    return 0


def find_commands() -> dict[str, Path]:
    """Return the file of each command by name, those that are asked for most first."""
    files = {path.stem: path for path in HOME.glob("*.py") if not path.stem.startswith("_")}
    files = {name: path for name, path in files.items() if '__name__ == "__main__"' in path.read_text()}
    files |= {path.parent.name: path for path in HOME.glob("*/__main__.py")}
    return {name: files[name] for name in sorted(files, key=lambda n: (FIRST.index(n) if n in FIRST else 99, n))}


def is_command(name: str) -> bool:
    """Return whether this names a command, or a part of one that can be run, such as report.twins."""
    if name in find_commands():
        return True
    parts = name.split(".")
    file = HOME.joinpath(*parts).with_suffix(".py")
    named = len(parts) > 1 and all(part.isidentifier() for part in parts) and file.is_file()
    return named and '__name__ == "__main__"' in file.read_text()


def describe_command(file: Path) -> str:
    """Return what a command is for: the first sentence of its file's docstring, without the command itself."""
    text = (ast.get_docstring(ast.parse(file.read_bytes())) or "").partition("\n")[0]
    return text.partition(": ")[0].rstrip(".:")


def format_commands() -> str:
    """Return the page that lists the commands."""
    found = {name: describe_command(file) for name, file in find_commands().items()} | OWN
    width = max(map(len, found))
    return "\n".join(
        [
            "Deep residual learning: type a model and a data set, get a number you can trust.",
            "",
            *(f"  python -m src.{name.ljust(width)}  {text}" for name, text in found.items() if name not in OWN),
            *(f"  python -m src {name.ljust(width)}  {text}" for name, text in OWN.items()),
            "",
            "Each says more with --help. A first training: python -m src.train model=resnet20 data=digits",
        ]
    )


def explain_no_command(name: str, rest: list[str]) -> str:
    """Return the sentence for a first word that is no command."""
    known = find_commands()
    if "=" in name or name.startswith("-"):
        words = " ".join([name, *rest])[:100]
        return name_commands(f"{name}: name a command first, such as python -m src.train {words}")
    near = difflib.get_close_matches(name, known, n=3)
    there = f"did you mean {', '.join(near)}?" if near else f"there are: {', '.join(known)}"
    return f"{name}: no such command; {there}"
