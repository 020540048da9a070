"""The base of every family of networks: dials, their choices and the checks on them."""

from dataclasses import dataclass, field, fields
from typing import Any

from ..config.fields import check_choices, require, setting
from ..config.model import ModelConfig
from .registry import check_sealed


def dial(default: Any, help: str, choices: tuple[str, ...] = ()) -> Any:
    """Return a field that makes the architecture: free on the family's own row, sealed on the published ones."""
    metadata = {"dial": True, "identity": True, "help": help, "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


SHORTCUTS = ("A", "B", "C", "none")


SHORTCUT_HELP = "A: zero-padded identity, B: projection where shapes differ, C: projections, none: plain net"


ZERO_PADDINGS = ("end", "both")


ZERO_PADDING_HELP = "shortcut A: its new channels of zeros behind the old ones, or half before and half behind"


STRIDES_IN = ("3x3", "1x1")


STRIDE_IN_HELP = "which convolution of a bottleneck strides: the 3x3 (v1.5), or the first 1x1, as in the paper"


BLOCKS = ("basic", "bottleneck")


ACTIVATION_NAMES = ("relu", "mish", "silu", "gelu")


HEAD_NAMES = ("linear", "max", "conv")


HEAD_HELP = "linear: average pool and one layer; max: max pool and one layer; conv: the head of Waghmode et al. 2023"


RECOMPUTE = "keep only the blocks' inputs for the backward pass: less memory, a third more time"


DEEPEST, WIDEST = 10_000, 65_536  # layers and channels; beyond, to build a network takes minutes or all memory


def check_depth(depth: int, step: int, network: str, rest: int = 2) -> None:
    """Raise UserError unless the depth is ``step * n + rest`` with n of at least 1; the nearest ones are named."""
    require(depth <= DEEPEST, f"model.depth={str(depth)[:24]}: at most {DEEPEST:,} layers")
    below = max((depth - rest) // step, 1) * step + rest
    require(
        depth == below,
        f"model.depth={depth}: {network} has {step}n+{rest} layers; the nearest are {below} and {below + step}",
    )


def check_zero_padding(zero_padding: str, shortcut: str) -> None:
    """Raise UserError for a padding of zeros in a network that has none."""
    require(
        zero_padding == "end" or shortcut == "A",
        f"model.zero_padding={zero_padding}: only shortcut A pads with zeros; add model.shortcut=A",
    )


def check_stride_in(stride_in: str, bottleneck: bool, how: str) -> None:
    """Raise UserError for a strided 1x1 convolution in a network whose blocks have none."""
    require(
        stride_in == "3x3" or bottleneck, f"model.stride_in={stride_in}: only bottlenecks have a 1x1 convolution; {how}"
    )


def check_probability(name: str, value: float) -> None:
    """Raise UserError for a probability outside of [0, 1)."""
    require(0 <= value < 1, f"model.{name}={value}: a probability from 0 up to, but not, 1")


@dataclass
class Family(ModelConfig):
    """A family of networks: it checks its own fields whenever a row or a config of it is made."""

    def __post_init__(self) -> None:
        check_sealed(self)
        check_choices(self, "model")
        for f in fields(self):
            value = getattr(self, f.name)
            for number in value if isinstance(value, list) else [value]:
                too_wide = isinstance(number, int) and f.name != "depth" and number > WIDEST
                require(not too_wide, f"model.{f.name}={str(number)[:24]}: at most {WIDEST:,}")
        self.check()


@dataclass
class Residual(Family):
    """A family of residual networks, with the dials that all of them have."""

    activation: str = dial("relu", "the nonlinearity", ACTIVATION_NAMES)
    se: bool = dial(False, "squeeze-and-excitation in every block (Hu et al. 2018)")
    head: str = dial("linear", HEAD_HELP, HEAD_NAMES)
    stochastic_depth: float = setting(
        0.0, "probability to drop the last block in training; rises linearly with depth (Huang et al. 2016)"
    )
    checkpoint_activations: bool = setting(False, RECOMPUTE, identity=False)

    def check(self) -> None:
        check_probability("stochastic_depth", self.stochastic_depth)
        if getattr(self, "shortcut", "A") == "none":
            require(
                self.stochastic_depth == 0,
                f"model.stochastic_depth={self.stochastic_depth}: a plain net has no shortcut around a block",
            )

    @property
    def gate(self) -> str:
        """The gate behind every block's F: a key of GATES in src/models/layers.py."""
        return "se" if self.se else "none"

    def cite(self, source: str) -> str:
        """Return the source, followed by the parts of this network that it does not describe."""
        extra = ["squeeze-and-excitation"] * self.se
        extra += [self.activation.capitalize()] * (self.activation != "relu")
        extra += ["max pool"] * (self.head == "max")
        extra += ["head of Waghmode et al. 2023"] * (self.head == "conv")
        return ", ".join([source, *extra])
