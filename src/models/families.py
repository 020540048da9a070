"""The families of networks: a dataclass each, with its dials, their defaults and what is possible.

Importing this module imports no torch.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from src.config import ModelConfig, check_choices, require, setting
from src.registry import check_sealed


def dial(default: Any, help: str, choices: tuple[str, ...] = ()) -> Any:
    """A field that makes the architecture: free on the family's own row, sealed on the published ones."""
    metadata = {"dial": True, "identity": True, "help": help, "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


SHORTCUTS = ("A", "B", "C", "none")
SHORTCUT_HELP = "A: zero-padded identity, B: projection where shapes differ, C: projections, none: plain net"
BLOCKS = ("basic", "bottleneck")
ACTIVATIONS = ("relu", "mish", "silu", "gelu")
HEADS = ("linear", "max", "conv")
HEAD_HELP = "linear: average pool and one layer; max: max pool and one layer; conv: the head of Waghmode et al. 2023"
RECOMPUTE = "keep only the blocks' inputs for the backward pass: less memory, a third more time"


def check_depth(depth: int, step: int, network: str, rest: int = 2) -> None:
    """Refuse a depth that is not ``step * n + rest`` with n of at least 1, and name the nearest ones."""
    below = max((depth - rest) // step, 1) * step + rest
    require(
        depth == below,
        f"model.depth={depth}: {network} has {step}n+{rest} layers; the nearest are {below} and {below + step}",
    )


def check_share(name: str, value: float) -> None:
    """Refuse a probability outside of [0, 1)."""
    require(0 <= value < 1, f"model.{name}={value}: a probability from 0 up to, but not, 1")


@dataclass
class Family(ModelConfig):
    """What the families share: the order of their checks."""

    def __post_init__(self) -> None:
        check_sealed(self)
        check_choices(self, "model")
        self.check()


@dataclass
class Residual(Family):
    """What every residual family offers."""

    activation: str = dial("relu", "the nonlinearity", ACTIVATIONS)
    se: bool = dial(False, "squeeze-and-excitation in every block (Hu et al. 2018)")
    head: str = dial("linear", HEAD_HELP, HEADS)
    stochastic_depth: float = setting(
        0.0, "probability to leave out the last block in training; rises linearly with depth (Huang et al. 2016)"
    )
    checkpoint_activations: bool = setting(False, RECOMPUTE, identity=False)

    def check(self) -> None:
        check_share("stochastic_depth", self.stochastic_depth)
        if getattr(self, "shortcut", "A") == "none":
            require(
                self.stochastic_depth == 0,
                f"model.stochastic_depth={self.stochastic_depth}: a plain net has no shortcut to go instead of a block",
            )

    def noted(self, source: str) -> str:
        """The source, and what of this network is not from there."""
        extra = ["squeeze-and-excitation"] * self.se
        extra += [self.activation.capitalize()] * (self.activation != "relu")
        extra += ["max pool"] * (self.head == "max")
        extra += ["head of Waghmode et al. 2023"] * (self.head == "conv")
        return ", ".join([source, *extra])


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

    family: ClassVar[str] = "cifar_resnet"
    builder: ClassVar[str] = "src.models.resnet:cifar_resnet"

    @property
    def source(self) -> str:
        if self.cardinality > 1:
            return self.noted("Xie et al. 2017, Table 7")
        if self.block == "bottleneck":
            return self.noted("He et al. 2016b, Table 4, post-activation")
        return self.noted("He et al. 2016, Fig. 6" if self.shortcut == "none" else "He et al. 2016, Table 6")

    @property
    def warmup(self) -> float:
        """The paper starts 110 layers at rate 0.01, for about 400 of its 64k iterations."""
        return 400 / 64_000 if self.depth >= 110 else 0.0

    def check(self) -> None:
        super().check()
        bottleneck = self.block == "bottleneck"
        network = "a CIFAR ResNet of bottlenecks" if bottleneck else "a CIFAR ResNet"
        check_depth(self.depth, 9 if bottleneck else 6, network)
        require(self.width >= 1, f"model.width={self.width}: at least 1 channel")
        check_groups(self.cardinality, self.group_width, bottleneck, "model.block=bottleneck")


def check_groups(cardinality: int, group_width: int | None, bottleneck: bool, how: str) -> None:
    """Refuse groups that a 3x3 convolution cannot have."""
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

    family: ClassVar[str] = "imagenet_resnet"
    builder: ClassVar[str] = "src.models.resnet:imagenet_resnet"

    @property
    def source(self) -> str:
        table = "He et al. 2016, Table 2" if self.shortcut == "none" else "He et al. 2016, Table 1"
        if self.cardinality > 1:
            table = "Xie et al. 2017, Table 1"
        elif self.group_width not in (None, 64):
            table = "Zagoruyko & Komodakis 2016, Table 8"
        if self.se:
            return "Hu et al. 2018, Table 2"
        return self.noted(table if self.stem == "imagenet" else f"{table}, but a 32x32 stem")

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


@dataclass
class PreActResNet(Residual):
    """He et al. 2016b, "Identity Mappings in Deep Residual Networks": BN and relu before each convolution."""

    depth: int = dial(20, "6n+2 layers; with bottleneck blocks 9n+2")
    block: str = dial("basic", "two 3x3 convolutions, or 1x1, 3x3, 1x1", BLOCKS)
    shortcut: str = dial("A", SHORTCUT_HELP, SHORTCUTS)
    width: int = dial(16, "channels of the first stage; each further stage has twice as many")

    family: ClassVar[str] = "preact_resnet"
    builder: ClassVar[str] = "src.models.preact:preact_resnet"

    @property
    def source(self) -> str:
        return self.noted("He et al. 2016b, Table 3" if self.depth in (110, 164) else "He et al. 2016b, Section 3")

    @property
    def warmup(self) -> float:
        """The paper warms every net up at a tenth of the rate, for 400 of 64k iterations."""
        return 400 / 64_000

    def check(self) -> None:
        super().check()
        bottleneck = self.block == "bottleneck"
        network = f"a pre-activation CIFAR ResNet{' of bottlenecks' * bottleneck}"
        check_depth(self.depth, 9 if bottleneck else 6, network)
        require(self.width >= 1, f"model.width={self.width}: at least 1 channel")


@dataclass
class WideResNet(Residual):
    """Zagoruyko & Komodakis 2016: WRN-d-k, pre-activation nets of d layers with k times the channels."""

    depth: int = dial(28, "6n+4 layers")
    widen: int = dial(10, "how many times as wide as 16, 32 and 64 channels")
    dropout: float = setting(0.0, "share of activations dropped between a block's convolutions; the paper's is 0.3")

    family: ClassVar[str] = "wide_resnet"
    builder: ClassVar[str] = "src.models.preact:wide_resnet"

    @property
    def source(self) -> str:
        return self.noted("Zagoruyko & Komodakis 2016, Table 4")

    def check(self) -> None:
        super().check()
        check_depth(self.depth, 6, "a Wide ResNet", rest=4)
        require(self.widen >= 1, f"model.widen={self.widen}: at least 1")
        check_share("dropout", self.dropout)


@dataclass
class SpeedNet(Residual):
    """After Jordan 2024 ("94% on CIFAR-10 in 3.29 Seconds"): few, early pooled layers behind a whitened stem.

    The stem takes its kernels from the training images (src/models/speednet.py).
    """

    depth: int = dial(8, "3n+5 layers, n of them in the residual branch of each stage")
    widths: list[int] = dial([64, 256, 256], "channels of each of the three stages")
    activation: str = dial("gelu", "the nonlinearity", ACTIVATIONS)
    head: str = dial("max", HEAD_HELP, HEADS)

    family: ClassVar[str] = "speednet"
    builder: ClassVar[str] = "src.models.speednet:speednet"

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


@dataclass
class ResNetV2(Residual):
    """He et al. 2016b for ImageNet as Keras defines and publishes it: biases, strides in a stage's last block."""

    depth: int = dial(50, "50, 101 or 152 layers")

    family: ClassVar[str] = "resnet_v2"
    builder: ClassVar[str] = "src.models.preact:resnet_v2"

    @property
    def source(self) -> str:
        return self.noted("He et al. 2016b, as in Keras")

    @property
    def native_size(self) -> int:
        return 32 if self.head == "conv" else 224

    def check(self) -> None:
        super().check()
        require(self.depth in (50, 101, 152), f"model.depth={self.depth}: a ResNet V2 has 50, 101 or 152 layers")


@dataclass
class Dense(Family):
    """What both families of DenseNets offer."""

    head: str = dial("linear", HEAD_HELP, HEADS)
    dropout: float = setting(0.0, "share of a layer's maps dropped; the paper's is 0.2 without augmentation")
    checkpoint_activations: bool = setting(False, RECOMPUTE, identity=False)

    def check(self) -> None:
        check_share("dropout", self.dropout)


@dataclass
class ImageNetDenseNet(Dense):
    """Huang et al. 2017, Table 1: DenseNet-BC with four blocks; torchvision's."""

    depth: int = dial(121, "121, 161, 169 or 201 layers")

    family: ClassVar[str] = "densenet"
    builder: ClassVar[str] = "src.models.densenet:densenet"

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
    builder: ClassVar[str] = "src.models.densenet:cifar_densenet"

    @property
    def source(self) -> str:
        return "Huang et al. 2017, Table 2"

    def check(self) -> None:
        super().check()
        check_depth(self.depth, 6, "a CIFAR DenseNet-BC", rest=4)
        require(self.growth >= 1, f"model.growth={self.growth}: at least 1 channel")


@dataclass
class VGG(Family):
    """Simonyan & Zisserman 2015; torchvision's. For 32x32 images one linear layer replaces the two of 4,096."""

    depth: int = dial(16, "11, 13, 16 or 19 layers")
    batch_norm: bool = dial(False, "BatchNorm behind each convolution")
    head: str = dial(
        "mlp", f"mlp: 7x7 maps and two layers of 4,096, for about 224 pixels; {HEAD_HELP}", ("mlp", *HEADS)
    )
    dropout: float = setting(0.5, "share of activations dropped between the layers of the head mlp")

    family: ClassVar[str] = "vgg"
    builder: ClassVar[str] = "src.models.convnet:vgg"

    @property
    def source(self) -> str:
        return f"Simonyan & Zisserman 2015, Table 1{'' if self.head == 'mlp' else ', but one linear layer'}"

    @property
    def native_size(self) -> int:
        return 224 if self.head == "mlp" else 32

    def check(self) -> None:
        require(self.depth in (11, 13, 16, 19), f"model.depth={self.depth}: a VGG has 11, 13, 16 or 19 layers")
        check_share("dropout", self.dropout)


@dataclass
class AlexNet(Family):
    """Krizhevsky et al. 2012 in the form of Krizhevsky 2014; torchvision's."""

    dropout: float = setting(0.5, "share of activations dropped before the layers of 4,096")

    family: ClassVar[str] = "alexnet"
    builder: ClassVar[str] = "src.models.convnet:alexnet"

    @property
    def source(self) -> str:
        return "Krizhevsky 2014"

    @property
    def native_size(self) -> int:
        return 224

    def check(self) -> None:
        check_share("dropout", self.dropout)


@dataclass
class AlexNetCifar(AlexNet):
    """AlexNet with stride 1 in the first convolution: the same parameters, for 32x32 images."""

    family: ClassVar[str] = "alexnet_cifar"
    builder: ClassVar[str] = "src.models.convnet:alexnet_cifar"

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
    activation: str = dial("relu", "the nonlinearity", ACTIVATIONS)
    dropout: float = setting(0.5, "share of the dense layer's activations dropped")

    family: ClassVar[str] = "small_cnn"
    builder: ClassVar[str] = "src.models.convnet:small_cnn"

    @property
    def source(self) -> str:
        return "a classical baseline"

    def check(self) -> None:
        require(self.width >= 1, f"model.width={self.width}: at least 1 channel")
        check_share("dropout", self.dropout)
