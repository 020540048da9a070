"""The family for the shortest training."""

from dataclasses import dataclass
from typing import ClassVar

from ..config.fields import require
from .base import ACTIVATION_NAMES, HEAD_HELP, HEAD_NAMES, Residual, check_depth, dial


@dataclass
class SpeedNet(Residual):
    """After Jordan 2024 ("94% on CIFAR-10 in 3.29 Seconds"): few, early pooled layers behind a whitened stem.

    The stem takes its kernels from the training images (src/models/speednet.py).
    """

    depth: int = dial(8, "3n+5 layers, n of them in the residual branch of each stage")
    widths: list[int] = dial([64, 256, 256], "channels of each of the three stages")
    activation: str = dial("gelu", "the nonlinearity", ACTIVATION_NAMES)
    head: str = dial("max", HEAD_HELP, HEAD_NAMES)

    family: ClassVar[str] = "speednet"

    @property
    def source(self) -> str:
        return f"after Jordan 2024{', squeeze-and-excitation' * self.se}"

    def check(self) -> None:
        super().check()
        check_depth(self.depth, 3, "a SpeedNet", rest=5)
        require(
            len(self.widths) == 3 and min(self.widths) >= 1,
            f"model.widths={self.widths}: three numbers of channels, each at least 1",
        )
