"""The Python interface, for scripts and for plug-ins: ``plugins=[my_net.py]`` imports a file that calls ``register_…``.

A whole run is compose, settle, assemble, fit; or ``train``, which finds, resumes or trains it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli.compose import compose_run as compose
from .config.choices import BUILDERS, register_choice, register_recipe
from .config.data import DataConfig
from .config.fields import setting
from .config.logger import LoggerConfig
from .config.optim import OptimConfig
from .config.run import TrainConfig
from .config.task import TaskConfig
from .data.build import Source, build_data
from .errors import UserError
from .models.build import create_model
from .runs.results import Results
from .tasks.table import TaskRow, register_row
from .training.run import train
from .training.settle import Settled, open_run, settle
from .zoo.base import Family, dial
from .zoo.registry import register, register_family

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from .data.raw import Raw
    from .tasks.base import Task
    from .training.assemble import Assembly
    from .training.loggers.base import RunLogger

__all__ = [
    "DataConfig",
    "Family",
    "LoggerConfig",
    "OptimConfig",
    "Settled",
    "TaskConfig",
    "TaskRow",
    "TrainConfig",
    "UserError",
    "assemble",
    "build_data",
    "compose",
    "create_model",
    "dial",
    "fit",
    "register",
    "register_data",
    "register_family",
    "register_logger",
    "register_optim",
    "register_recipe",
    "register_task",
    "setting",
    "settle",
    "train",
]


def assemble(settled: Settled) -> "Assembly":
    """Build a run's data, network and task without writing anything; raise UserError for a wrong input."""
    from .training.assemble import assemble

    return assemble(settled)


def fit(assembly: "Assembly", path: Path | None = None) -> Results:
    """Train and test an assembled run in its run directory, or in ``path``, and return the content of results.json.

    Use ``train`` to resume from a checkpoint in that directory. Raises UserError where training fails, or where another
    process has the directory.
    """
    from .training.fit import fit

    run = open_run(assembly.settled, path)
    with run.hold():
        return fit(assembly, run)


def register_data(kind: type[DataConfig], *, load: "Callable[[Any], Raw]", content: Callable[[Any], str]) -> None:
    """Add a data set: ``load`` reads a choice into memory, and ``content`` names its content without reading it.

    Add its recipe by ``register_recipe(<name>, "multiclass", optim="sgd_onecycle", trainer={"max_epochs": 20})``.
    """
    register_choice(kind)
    BUILDERS[kind] = Source(load, content)


def register_task(kind: type[TaskConfig], *, row: TaskRow, build: "Callable[..., Task]") -> None:
    """Add a task with its row in the table; ``build(choice, model=…, num_classes=…, **common)`` returns the Task."""
    register_choice(kind)
    register_row(row)
    BUILDERS[kind] = build


def register_optim(kind: type[OptimConfig], *, build: "Callable[[Any, Sequence[dict[str, Any]]], Optimizer]") -> None:
    """Add an optimizer: ``build`` gets a choice and the parameter groups, each with learning rate and weight decay."""
    register_choice(kind)
    BUILDERS[kind] = build


def register_logger(kind: type[LoggerConfig], *, build: "Callable[[Any], RunLogger]") -> None:
    """Add a logger: ``build`` returns the adapter of a choice."""
    register_choice(kind)
    BUILDERS[kind] = build
