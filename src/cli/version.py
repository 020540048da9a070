"""Say which version of the project, and of what it stands on, is here."""

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "lightning", "hydra-core")


def format_version() -> str:
    """Return the line that ``--version`` prints; it imports none of the libraries."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"deep-residual-learning {read_version()} (Python {platform.python_version()}, {libraries})"


def read_version() -> str:
    """Return the project's version: of the clone, or as it was installed."""
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    found = re.search(r'^version = "(.+)"', project.read_text(), re.MULTILINE) if project.is_file() else None
    if found:
        return found[1]
    try:
        return version("deep-residual-learning")
    except PackageNotFoundError:
        return "of unknown version"
