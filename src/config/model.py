"""The choice of a network."""

from dataclasses import dataclass
from typing import ClassVar

from .fields import setting


@dataclass
class ModelConfig:
    """A network by name. Each family subclasses this in ``src/zoo/variants.py``; a row is one instance."""

    name: str = setting("", "the registered name of the row")
    weights: str | None = setting(
        None,
        "what training starts from: a run directory, a weights file, torchvision's name of its weights, KERAS_IMAGENET",
        identity=False,
    )
    weights_sha256: str = setting("", "the content of that file; filled in, or given to insist on it")

    family: ClassVar[str] = ""  # the name of the family's own row, which has the dials

    @property
    def source(self) -> str:
        """Return the paper of the network."""
        return ""

    @property
    def native_size(self) -> int:
        """Return the side of the square images that the network was designed for [pixels]."""
        return 32

    @property
    def warmup(self) -> float:
        """Return the fraction of training that the network needs at a tenth of the learning rate."""
        return 0.0

    def check(self) -> None:
        """Raise UserError where the family has no such network."""
