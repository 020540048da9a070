"""The identity of a run: hashes of its configuration and its data's content, and of the code behind it."""

import ast
import functools
import glob
import hashlib
import json
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.fields import get_neutral
from ..config.model import ModelConfig
from ..config.run import TrainConfig
from ..files import check_folder_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
ROOMS = ("data", "metrics", "models", "optim", "tasks", "training")  # whose code a result depends on


def collect_identity(config: "DataclassInstance", prefix: str = "") -> dict[str, object]:
    """Return the identity leaves of a dataclass tree that differ from their neutral values, by dotted name."""
    leaves: dict[str, object] = {}
    if isinstance(config, ModelConfig):
        leaves[f"{prefix}family"] = config.family  # a name of the user's own may belong to another family tomorrow
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value) and not isinstance(value, type):
            leaves |= collect_identity(value, f"{prefix}{f.name}.")
        elif f.metadata["identity"] and value != get_neutral(f):
            leaves[prefix + f.name] = value
    return leaves


def compute_config_hash(config: TrainConfig, data_content: str) -> str:
    """Return ten hexadecimal digits that name a run, from its identity leaves and its data's content."""
    leaves = collect_identity(config) | {"data.content": data_content}
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()[:10]


def to_plain(config: TrainConfig) -> dict[str, object]:
    """Return a configuration as plain values for storing, with the model's family, which reading it again needs."""
    stored = asdict(config)
    stored["model"]["family"] = config.model.family
    return stored


@functools.cache
def compute_code_hash(rooms: tuple[str, ...] = ROOMS) -> str:
    """Return ten hexadecimal digits of the code that a result depends on, without its comments and docstrings.

    Parsing it takes a fifth of a second, and a process runs the code that it has begun with.
    """
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(path for room in rooms for path in (root / room).rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\0{dump_syntax(ast.parse(file.read_bytes()))}".encode())
    return digest.hexdigest()[:10]


def dump_syntax(node: object) -> str:
    """Return a syntax tree as text without docstrings, comments and positions, equal in all versions of Python."""
    if isinstance(node, list):
        return f"[{' '.join(map(dump_syntax, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            value = value[1:]
        if value not in (None, []):  # newer versions know fields that are empty here
            parts.append(f"{name}={dump_syntax(value)}")
    return f"{type(node).__name__}({' '.join(parts)})"


def build_default_path(config: TrainConfig, name: str) -> Path:
    """Return ``<output_root>/<data>/<model>/<task>-seed<seed>-<hash>``; UserError for names that lead elsewhere.

    A run on pictures of the user's own is found again where their folder, which the path names, had another name.
    """
    groups = {"data.title": config.data.label, "model.name": config.model.name, "task.name": config.task.name}
    data, model, task = (check_folder_name(what, given) for what, given in groups.items())
    root, leaf = Path(config.output_root), Path(model, f"{task}-seed{config.seed}-{name}")
    if data != config.data.name and not (root / data / leaf).exists():
        return next(root.glob(f"*/{glob.escape(str(leaf))}"), root / data / leaf)
    return root / data / leaf
