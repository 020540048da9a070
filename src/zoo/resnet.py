"""The families of post-activation networks: He et al. 2016 and its descendants."""

from dataclasses import dataclass
from typing import ClassVar

from ..config.fields import require
from .base import (
    BLOCKS,
    SHORTCUT_HELP,
    SHORTCUTS,
    STRIDE_IN_HELP,
    STRIDES_IN,
    ZERO_PADDING_HELP,
    ZERO_PADDINGS,
    Residual,
    check_depth,
    check_stride_in,
    check_zero_padding,
    dial,
)


@dataclass
class CifarResNet(Residual):
    """He et al. 2016, Section 4.2: three stages of n blocks on maps of 32, 16 and 8 pixels.

    With bottleneck blocks there are 9n+2 layers; several groups in their 3x3 make it ResNeXt-29 (Xie et al. 2017).
    """

    depth: int = dial(20, "6n+2 layers; with bottleneck blocks 9n+2")
    block: str = dial("basic", "two 3x3 convolutions, or 1x1, 3x3, 1x1", BLOCKS)
    shortcut: str = dial("A", SHORTCUT_HELP, SHORTCUTS)
    width: int = dial(16, "channels of the first stage; each further stage has twice as many")
    cardinality: int = dial(1, "groups of the 3x3 of a bottleneck")
    group_width: int | None = dial(None, "channels of a group in the first stage; by default the width")
    zero_padding: str = dial("end", ZERO_PADDING_HELP, ZERO_PADDINGS)
    stride_in: str = dial("3x3", STRIDE_IN_HELP, STRIDES_IN)

    family: ClassVar[str] = "cifar_resnet"

    @property
    def source(self) -> str:
        if self.cardinality > 1:
            return self.cite("Xie et al. 2017, Table 7")
        if self.block == "bottleneck":
            return self.cite("He et al. 2016b, Table 4, post-activation")
        return self.cite("He et al. 2016, Fig. 6" if self.shortcut == "none" else "He et al. 2016, Table 6")

    @property
    def warmup(self) -> float:
        """About 400 of 64k iterations: so long the paper trains 110 layers at a learning rate of 0.01, a tenth."""
        return 400 / 64_000 if self.depth >= 110 else 0.0

    def check(self) -> None:
        super().check()
        bottleneck = self.block == "bottleneck"
        network = "a CIFAR ResNet of bottlenecks" if bottleneck else "a CIFAR ResNet"
        check_depth(self.depth, 9 if bottleneck else 6, network)
        require(self.width >= 1, f"model.width={self.width}: at least 1 channel")
        check_groups(self.cardinality, self.group_width, bottleneck, "model.block=bottleneck")
        check_zero_padding(self.zero_padding, self.shortcut)
        check_stride_in(self.stride_in, bottleneck, "add model.block=bottleneck")


def check_groups(cardinality: int, group_width: int | None, bottleneck: bool, how: str) -> None:
    """Raise UserError for groups that a 3x3 convolution cannot have."""
    require(cardinality >= 1, f"model.cardinality={cardinality}: at least 1 group")
    require(group_width is None or group_width >= 1, f"model.group_width={group_width}: at least 1 channel")
    require(
        bottleneck or (cardinality == 1 and group_width is None),
        f"model.cardinality={cardinality} model.group_width={group_width}: only bottlenecks have groups; add {how}",
    )


@dataclass
class ImageNetResNet(Residual):
    """He et al. 2016, Table 1: four stages of basic (18, 34) or bottleneck (50, 101, 152) blocks.

    Several groups in the 3x3 make it ResNeXt (Xie et al. 2017), one wide group a Wide ResNet (Zagoruyko & Komodakis
    2016). The stem ``cifar`` is one 3x3 convolution, for images of about 32 pixels; it is not in the paper.
    """

    depth: int = dial(50, "18, 34, 50, 101 or 152 layers")
    shortcut: str = dial("B", SHORTCUT_HELP, SHORTCUTS)
    stem: str = dial("imagenet", "for images of about 224 or 32 pixels", ("imagenet", "cifar"))
    cardinality: int = dial(1, "groups of the 3x3 of a bottleneck")
    group_width: int | None = dial(None, "channels of a group in the first stage; by default 64")
    zero_padding: str = dial("end", ZERO_PADDING_HELP, ZERO_PADDINGS)
    stride_in: str = dial("3x3", STRIDE_IN_HELP, STRIDES_IN)

    family: ClassVar[str] = "imagenet_resnet"

    @property
    def source(self) -> str:
        table = "He et al. 2016, Table 2" if self.shortcut == "none" else "He et al. 2016, Table 1"
        if self.cardinality > 1:
            table = "Xie et al. 2017, Table 1"
        elif self.group_width not in (None, 64):
            table = "Zagoruyko & Komodakis 2016, Table 8"
        if self.se:
            return "Hu et al. 2018, Table 2"
        return self.cite(table if self.stem == "imagenet" else f"{table}, but a 32x32 stem")

    @property
    def native_size(self) -> int:
        return 224 if self.stem == "imagenet" else 32

    def check(self) -> None:
        super().check()
        require(
            self.depth in (18, 34, 50, 101, 152),
            f"model.depth={self.depth}: an ImageNet ResNet has 18, 34, 50, 101 or 152 layers",
        )
        check_groups(self.cardinality, self.group_width, self.depth >= 50, "model.depth=50")
        check_zero_padding(self.zero_padding, self.shortcut)
        check_stride_in(self.stride_in, self.depth >= 50, "set model.depth=50 or more")
