"""Data: from a ``DataConfig`` to batches on the training device. Importing this package imports no torch."""

from typing import TYPE_CHECKING, Any

from ..config.data import DataConfig
from ..config.fields import require
from ..config.task import DETECTION

if TYPE_CHECKING:
    from .base import DataModule


def fingerprint(config: DataConfig) -> str:
    """What names the content of the data in a run's identity; nothing is loaded, no image is read.

    Raises UserError for an unknown set, and for a folder without the expected layout.
    """
    from .sets.table import source

    return f"{config.name}:{source(config.name).content(config)}"


def build_data(
    config: DataConfig,
    *,
    task: str = "multiclass",
    seed: int,
    accumulate: int = 1,
    devices: int = 1,
    normalization: dict[str, Any] | None = None,
) -> "DataModule":
    """Load a data set and choose its classes, sizes and splits; the order of an epoch follows from ``seed``.

    ``normalization``: the one stored with the initial weights, which data.normalize=weights uses.
    Raises UserError for everything that is wrong with the data or these settings.
    """
    from importlib import import_module

    from .sets.table import source

    builders = source(config.name).builders
    require(task in builders, f"task={task}: data={config.name} is for {', '.join(builders)}")
    common: dict[str, Any] = {"seed": seed, "accumulate": accumulate, "devices": devices}
    if task in DETECTION:
        common["masks"] = task == "instance_segmentation"
    data: DataModule = import_module(builders[task]).build(config, normalization=normalization, **common)
    return data
