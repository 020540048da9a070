"""Data: from a ``DataConfig`` to batches on the training device. Importing this package imports no torch."""

from typing import TYPE_CHECKING, Any

from src.config import DataConfig

if TYPE_CHECKING:
    from src.data.module import ImageData


def fingerprint(config: DataConfig) -> str:
    """``<name>:<content>``, quickly and without torch: a published set's md5, or the hash of a folder's list.

    Raises UserError for an unknown set or preset, and for a folder without the expected layout.
    """
    from src.data.sets import source
    from src.data.transforms import preset

    preset(config.augment)
    return f"{config.name}:{source(config.name).content(config)}"


def build_data(
    config: DataConfig,
    *,
    seed: int,
    accumulate: int = 1,
    devices: int = 1,
    normalization: dict[str, Any] | None = None,
) -> "ImageData":
    """Load a data set and choose its classes, sizes and splits; the order of an epoch follows from ``seed``.

    ``normalization``: the one stored with the initial weights, which data.normalize=weights uses.
    Raises UserError for everything that is wrong with the data or these settings.
    """
    from src.data.module import build

    return build(config, seed=seed, accumulate=accumulate, devices=devices, normalization=normalization)
