"""The families of DenseNets."""

from dataclasses import dataclass
from typing import ClassVar

from ..config.fields import require, setting
from .base import HEAD_HELP, HEAD_NAMES, RECOMPUTE, Family, check_depth, check_probability, dial


@dataclass
class Dense(Family):
    """The dials that both families of DenseNets have."""

    head: str = dial("linear", HEAD_HELP, HEAD_NAMES)
    dropout: float = setting(0.0, "fraction of a layer's maps dropped; the paper's is 0.2 without augmentation")
    checkpoint_activations: bool = setting(False, RECOMPUTE, identity=False)

    def check(self) -> None:
        check_probability("dropout", self.dropout)


@dataclass
class ImageNetDenseNet(Dense):
    """Huang et al. 2017, Table 1: DenseNet-BC with four blocks; torchvision's."""

    depth: int = dial(121, "121, 161, 169 or 201 layers")

    family: ClassVar[str] = "densenet"

    @property
    def source(self) -> str:
        return "Huang et al. 2017, Table 1"

    @property
    def native_size(self) -> int:
        return 224

    def check(self) -> None:
        super().check()
        require(
            self.depth in (121, 161, 169, 201), f"model.depth={self.depth}: a DenseNet has 121, 161, 169 or 201 layers"
        )


@dataclass
class CifarDenseNet(Dense):
    """Huang et al. 2017, Table 2: DenseNet-BC with three blocks, for 32x32 images."""

    depth: int = dial(100, "6n+4 layers")
    growth: int = dial(12, "channels that a layer adds")

    family: ClassVar[str] = "cifar_densenet"

    @property
    def source(self) -> str:
        return "Huang et al. 2017, Table 2"

    def check(self) -> None:
        super().check()
        check_depth(self.depth, 6, "a CIFAR DenseNet-BC", rest=4)
        require(self.growth >= 1, f"model.growth={self.growth}: at least 1 channel")
