"""The families without shortcuts."""

from dataclasses import dataclass
from typing import ClassVar

from ..config.fields import require, setting
from .base import ACTIVATION_NAMES, HEAD_HELP, HEAD_NAMES, Family, check_probability, dial


@dataclass
class VGG(Family):
    """Simonyan & Zisserman 2015; torchvision's. For 32x32 images one linear layer replaces the two of 4,096."""

    depth: int = dial(16, "11, 13, 16 or 19 layers")
    batch_norm: bool = dial(False, "BatchNorm behind each convolution")
    head: str = dial(
        "mlp", f"mlp: 7x7 maps and two layers of 4,096, for about 224 pixels; {HEAD_HELP}", ("mlp", *HEAD_NAMES)
    )
    dropout: float = setting(0.5, "fraction of activations dropped between the layers of the head mlp")

    family: ClassVar[str] = "vgg"

    @property
    def source(self) -> str:
        return f"Simonyan & Zisserman 2015, Table 1{'' if self.head == 'mlp' else ', but one linear layer'}"

    @property
    def native_size(self) -> int:
        return 224 if self.head == "mlp" else 32

    def check(self) -> None:
        require(self.depth in (11, 13, 16, 19), f"model.depth={self.depth}: a VGG has 11, 13, 16 or 19 layers")
        check_probability("dropout", self.dropout)


@dataclass
class AlexNet(Family):
    """Krizhevsky et al. 2012 in the form of Krizhevsky 2014; torchvision's."""

    dropout: float = setting(0.5, "fraction of activations dropped before the layers of 4,096")

    family: ClassVar[str] = "alexnet"
    depth: ClassVar[int] = 8  # five convolutions and three linear layers

    @property
    def source(self) -> str:
        return "Krizhevsky 2014"

    @property
    def native_size(self) -> int:
        return 224

    def check(self) -> None:
        check_probability("dropout", self.dropout)


@dataclass
class AlexNetCifar(AlexNet):
    """AlexNet with stride 1 in the first convolution: the same parameters, for 32x32 images."""

    family: ClassVar[str] = "alexnet_cifar"

    @property
    def source(self) -> str:
        return "Krizhevsky 2014, but stride 1 first"

    @property
    def native_size(self) -> int:
        return 32


@dataclass
class SmallCNN(Family):
    """Four convolutions and a dense layer: the classical baseline, without shortcuts or BatchNorm."""

    width: int = dial(32, "channels of the first two convolutions; the others have twice as many")
    activation: str = dial("relu", "the nonlinearity", ACTIVATION_NAMES)
    dropout: float = setting(0.5, "fraction of the dense layer's activations dropped")

    family: ClassVar[str] = "small_cnn"

    @property
    def source(self) -> str:
        return "a classical baseline"

    def check(self) -> None:
        require(self.width >= 1, f"model.width={self.width}: at least 1 channel")
        check_probability("dropout", self.dropout)
