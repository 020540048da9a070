"""The table of networks: a family is a dataclass with its dials, a row is one published network of it.

A new variant is one more row. A new architecture is one file with a builder, plus its family and rows here.
Importing this module imports no torch.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from src.config import ModelConfig, check_choices, require
from src.registry import check_sealed, register


def dial(default: Any, help: str, choices: tuple[str, ...] = ()) -> Any:
    """A field that makes the architecture: free on the family's own row, sealed on the published ones."""
    return field(default=default, metadata={"dial": True, "identity": True, "help": help, "choices": choices})


SHORTCUTS = ("A", "B", "C", "none")
SHORTCUT_HELP = "A: zero-padded identity, B: projection where shapes differ, C: projections, none: plain net"


@dataclass
class Family(ModelConfig):
    """What the families share: the order of their checks."""

    def __post_init__(self) -> None:
        check_sealed(self)
        check_choices(self, "model")
        self.check()


def check_depth(depth: int, step: int, network: str) -> None:
    """Refuse a depth that is not ``step * n + 2`` with n of at least 1, and name the nearest ones."""
    below = max((depth - 2) // step, 1) * step + 2
    require(
        depth == below,
        f"model.depth={depth}: {network} has {step}n+2 layers; the nearest are {below} and {below + step}",
    )


@dataclass
class CifarResNet(Family):
    """He et al. 2016, Section 4.2: three stages of n basic blocks on maps of 32, 16 and 8 pixels."""

    depth: int = dial(20, "6n+2 layers")
    shortcut: str = dial("A", SHORTCUT_HELP, SHORTCUTS)
    width: int = dial(16, "channels of the first stage; each further stage has twice as many")

    family: ClassVar[str] = "cifar_resnet"
    builder: ClassVar[str] = "src.models.resnet:cifar_resnet"

    @property
    def source(self) -> str:
        return "He et al. 2016, Fig. 6" if self.shortcut == "none" else "He et al. 2016, Table 6"

    @property
    def warmup(self) -> float:
        """The paper starts 110 layers at rate 0.01, for about 400 of its 64k iterations."""
        return 400 / 64_000 if self.depth >= 110 else 0.0

    def check(self) -> None:
        check_depth(self.depth, 6, "a CIFAR ResNet")
        require(self.width >= 1, f"model.width={self.width}: at least 1 channel")


@dataclass
class ImageNetResNet(Family):
    """He et al. 2016, Table 1: four stages of basic (18, 34) or bottleneck (50, 101, 152) blocks.

    The stem ``cifar`` is one 3x3 convolution, for images of about 32 pixels; it is not in the paper.
    """

    depth: int = dial(50, "18, 34, 50, 101 or 152 layers")
    shortcut: str = dial("B", SHORTCUT_HELP, SHORTCUTS)
    stem: str = dial("imagenet", "for images of about 224 or 32 pixels", ("imagenet", "cifar"))

    family: ClassVar[str] = "imagenet_resnet"
    builder: ClassVar[str] = "src.models.resnet:imagenet_resnet"

    @property
    def source(self) -> str:
        table = "He et al. 2016, Table 2" if self.shortcut == "none" else "He et al. 2016, Table 1"
        return table if self.stem == "imagenet" else f"{table}, but a 32x32 stem"

    @property
    def native_size(self) -> int:
        return 224 if self.stem == "imagenet" else 32

    def check(self) -> None:
        require(
            self.depth in (18, 34, 50, 101, 152),
            f"model.depth={self.depth}: an ImageNet ResNet has 18, 34, 50, 101 or 152 layers",
        )


register(
    CifarResNet(name="cifar_resnet"),
    *(CifarResNet(name=f"resnet{depth}", depth=depth) for depth in (20, 32, 44, 56, 110, 1202)),
    *(CifarResNet(name=f"plain{depth}", depth=depth, shortcut="none") for depth in (20, 32, 44, 56, 110)),
)

register(ImageNetResNet(name="imagenet_resnet"))
for stem, suffix in (("imagenet", ""), ("cifar", "_cifar")):
    register(
        *(ImageNetResNet(name=f"resnet{d}{suffix}", depth=d, stem=stem) for d in (18, 34, 50, 101, 152)),
        *(ImageNetResNet(name=f"plain{d}{suffix}", depth=d, shortcut="none", stem=stem) for d in (18, 34)),
    )
