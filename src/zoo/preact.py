"""The families of pre-activation networks."""

from dataclasses import dataclass
from typing import ClassVar

from ..config.fields import require, setting
from .base import (
    BLOCKS,
    SHORTCUT_HELP,
    SHORTCUTS,
    ZERO_PADDING_HELP,
    ZERO_PADDINGS,
    Residual,
    check_depth,
    check_probability,
    check_zero_padding,
    dial,
)


@dataclass
class PreActResNet(Residual):
    """He et al. 2016b, "Identity Mappings in Deep Residual Networks": BN and relu before each convolution."""

    depth: int = dial(20, "6n+2 layers; with bottleneck blocks 9n+2")
    block: str = dial("basic", "two 3x3 convolutions, or 1x1, 3x3, 1x1", BLOCKS)
    shortcut: str = dial("A", SHORTCUT_HELP, SHORTCUTS)
    width: int = dial(16, "channels of the first stage; each further stage has twice as many")
    zero_padding: str = dial("end", ZERO_PADDING_HELP, ZERO_PADDINGS)

    family: ClassVar[str] = "preact_resnet"

    @property
    def source(self) -> str:
        return self.cite("He et al. 2016b, Table 3" if self.depth in (110, 164) else "He et al. 2016b, Section 3")

    @property
    def warmup(self) -> float:
        """400 of 64k iterations: so long the paper warms every net up, at a tenth of the learning rate."""
        return 400 / 64_000

    def check(self) -> None:
        super().check()
        bottleneck = self.block == "bottleneck"
        network = f"a pre-activation CIFAR ResNet{' of bottlenecks' * bottleneck}"
        check_depth(self.depth, 9 if bottleneck else 6, network)
        require(self.width >= 1, f"model.width={self.width}: at least 1 channel")
        check_zero_padding(self.zero_padding, self.shortcut)


@dataclass
class WideResNet(Residual):
    """Zagoruyko & Komodakis 2016: WRN-d-k, pre-activation nets of d layers with k times the channels."""

    depth: int = dial(28, "6n+4 layers")
    widen: int = dial(10, "how many times as wide as 16, 32 and 64 channels")
    dropout: float = setting(0.0, "fraction of activations dropped between a block's convolutions; the paper's is 0.3")

    family: ClassVar[str] = "wide_resnet"

    @property
    def source(self) -> str:
        return self.cite("Zagoruyko & Komodakis 2016, Table 4")

    def check(self) -> None:
        super().check()
        check_depth(self.depth, 6, "a Wide ResNet", rest=4)
        require(self.widen >= 1, f"model.widen={self.widen}: at least 1")
        check_probability("dropout", self.dropout)


@dataclass
class ResNetV2(Residual):
    """He et al. 2016b for ImageNet as Keras defines and publishes it: biases, strides in a stage's last block."""

    depth: int = dial(50, "50, 101 or 152 layers")

    family: ClassVar[str] = "resnet_v2"

    @property
    def source(self) -> str:
        return self.cite("He et al. 2016b, as in Keras")

    @property
    def native_size(self) -> int:
        return 32 if self.head == "conv" else 224

    def check(self) -> None:
        super().check()
        require(self.depth in (50, 101, 152), f"model.depth={self.depth}: a ResNet V2 has 50, 101 or 152 layers")
