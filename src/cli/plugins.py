"""Plug-ins: the user's own files or modules, imported before composing, which register networks, sets, tasks …"""

import hashlib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ..errors import UserError
from .console import PACKAGE


def find_plugin_names(words: Sequence[str]) -> list[str]:
    """Return the names in ``plugins=[…]`` on a command line."""
    values = [word.split("=", 1)[1] for word in words if word.startswith("plugins=")]
    names = values[-1].strip("[]").split(",") if values else []
    return [name.strip(" '\"") for name in names if name.strip(" '\"")]


def load_plugins(names: Sequence[str]) -> None:
    """Import plug-ins, each once; raise UserError where one is missing or fails."""
    for name in names:
        load_plugin(name)


def load_plugin(name: str) -> ModuleType:
    """Import a plug-in: a file that ends in .py, or a module by its dotted name.

    A file is imported by its stem from its folder, so that other processes can unpickle its classes. Raises UserError
    where it is missing, fails, or has the name of another module.
    """
    file = Path(name).expanduser().resolve() if name.endswith(".py") else None
    if file is not None and not file.is_file():
        raise UserError(f"plugins={name}: no such file")
    if file is not None and str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    if file is None and os.getcwd() not in sys.path:  # as `python -m` has it
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(file.stem if file else name)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in ("src", "residual"):
            raise UserError(
                f"plugins={name}: here, the package is called {PACKAGE}: from {PACKAGE} import api"
            ) from None
        raise UserError(f"plugins={name}: cannot be imported ({type(error).__name__}: {error})") from error
    if file is not None and Path(str(module.__file__)).resolve() != file:
        raise UserError(f"plugins={name}: the name {file.stem} belongs to {module.__file__}; rename the file")
    return module


def hash_plugins(names: Sequence[str]) -> list[str]:
    """Return the sha256 of each plug-in's sources, which are part of a run's identity."""
    return [hash_sources(load_plugin(name)) for name in names]


def hash_sources(module: ModuleType) -> str:
    """Return the sha256 of a module's file, or of all Python files of a package."""
    file = Path(str(module.__file__))
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    digest = hashlib.sha256()
    for source in files:
        digest.update(source.relative_to(file.parent).as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()
