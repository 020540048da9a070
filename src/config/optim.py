"""The choice of the optimizer, of the learning rate's schedule, and of the trained parts of a network."""

from dataclasses import dataclass
from typing import ClassVar

from .choices import Choice, check_name, register_choice
from .fields import check_choices, require, setting


@dataclass
class OptimConfig(Choice):
    """Settings of every optimizer. Points in time are fractions of the training, so that they scale with its length."""

    name: str = setting("sgd", "the update rule")
    lr: float = setting(0.1, "peak learning rate, for the global batch; auto, for your own pictures: fitted")
    find_lr: bool = setting(False, "optim.lr=find: a range test chooses the learning rate", identity=False)
    weight_decay: float = setting(0.0, "L2 penalty (SGD, Adam) or decoupled decay (AdamW, Muon)")
    bias_lr: float = setting(
        1.0, "learning rate of the biases, those of normalisations too, as a multiple of their own"
    )
    decay_norm_and_bias: bool = setting(True, "weight decay on normalisation parameters and biases too")
    schedule: str = setting(
        "constant",
        "the learning rate's schedule",
        choices=("constant", "cosine", "multistep", "onecycle", "plateau"),
    )
    warmup: float | None = setting(
        None,
        "fraction of training with a lower learning rate at its start; by default what the network's paper asks for",
    )
    warmup_start: float = setting(0.1, "learning rate at the start of the warm-up, as a fraction of lr")
    warmup_shape: str = setting("linear", "how the warm-up rises to lr", choices=("linear", "constant"))
    milestones: list[float] = setting([], "fractions of training at which the learning rate falls by gamma (multistep)")
    gamma: float = setting(0.1, "factor of a fall (multistep, plateau)")
    patience: int = setting(5, "epochs without a better validation loss before the learning rate falls (plateau)")
    final: float = setting(
        0.0, "learning rate at the end, as a fraction of lr (cosine, onecycle) or its floor (plateau)"
    )
    clip_norm: float = setting(0.0, "largest gradient norm; 0 leaves gradients alone")
    ema: float = setting(0.0, "decay a step of the weights' exponential moving average; 0 keeps none")

    config_group: ClassVar[str] = "optim"
    states: ClassVar[int] = 1  # values that the optimizer keeps for each weight

    def __post_init__(self) -> None:
        check_name(self)
        check_choices(self, "optim")
        require(self.lr >= 0, f"optim.lr={self.lr}: above 0")  # 0 is "auto", which TrainConfig refuses for other sets
        require(self.weight_decay >= 0, f"optim.weight_decay={self.weight_decay}: at least 0")
        require(self.bias_lr > 0, f"optim.bias_lr={self.bias_lr}: above 0")
        require(
            self.warmup is None or 0 <= self.warmup < 1,
            f"optim.warmup={self.warmup}: a fraction of training in [0, 1)",
        )
        require(
            all(0 < m < 1 for m in self.milestones) and self.milestones == sorted(self.milestones),
            f"optim.milestones={self.milestones}: rising fractions of training between 0 and 1",
        )
        require(0 <= self.ema < 1, f"optim.ema={self.ema}: a decay from 0 up to, but not, 1")
        require(self.clip_norm >= 0, f"optim.clip_norm={self.clip_norm}: at least 0")
        require(0 < self.gamma < 1, f"optim.gamma={self.gamma}: between 0 and 1")
        require(0 <= self.final <= 1, f"optim.final={self.final}: from 0 to 1")
        require(
            not self.warmup or self.schedule != "plateau",
            f"optim.warmup={self.warmup}: optim.schedule=plateau follows the validation loss alone, so set 0",
        )
        require(0 <= self.warmup_start <= 1, f"optim.warmup_start={self.warmup_start}: from 0 to 1")
        require(self.patience >= 0, f"optim.patience={self.patience}: at least 0")
        self.check()

    def check(self) -> None:
        """Raise UserError where the settings of this choice alone are wrong."""


def check_momentum(name: str, value: float) -> None:
    """Refuse a momentum outside of [0, 1)."""
    require(0 <= value < 1, f"optim.{name}={value}: from 0 up to, but not, 1")


@register_choice
@dataclass
class SGD(OptimConfig):
    momentum: float = setting(0.9, "of the gradients")
    nesterov: bool = setting(False, "Nesterov's momentum")

    choice: ClassVar[str] = "sgd"

    def check(self) -> None:
        check_momentum("momentum", self.momentum)
        require(not self.nesterov or self.momentum > 0, "optim.nesterov=true: needs optim.momentum above 0")


@register_choice
@dataclass
class Muon(OptimConfig):
    """Muon (Jordan et al. 2024) for kernels, SGD for all other parameters."""

    name: str = setting("muon", "the update rule", neutral="sgd")
    momentum: float = setting(0.9, "of the kernels' gradients")
    sgd_lr: float = setting(0.1, "peak learning rate of SGD, for all parameters that are no kernels")
    sgd_momentum: float = setting(0.9, "Nesterov's momentum of that SGD")
    newton_schulz: int = setting(5, "iterations that make a step orthogonal")
    unit_norm: bool = setting(
        False, "keep each kernel at norm sqrt(channels out); for those with a normalisation behind them"
    )

    choice: ClassVar[str] = "muon"

    def check(self) -> None:
        check_momentum("momentum", self.momentum)
        check_momentum("sgd_momentum", self.sgd_momentum)
        require(self.sgd_lr > 0, f"optim.sgd_lr={self.sgd_lr}: above 0")
        require(1 <= self.newton_schulz <= 100, f"optim.newton_schulz={self.newton_schulz}: from 1 to 100 iterations")


@register_choice
@dataclass
class Adam(OptimConfig):
    name: str = setting("adam", "the update rule", neutral="sgd")
    momentum: float = setting(0.9, "the first beta")

    choice: ClassVar[str] = "adam"
    states: ClassVar[int] = 2

    def check(self) -> None:
        check_momentum("momentum", self.momentum)


@register_choice
@dataclass
class AdamW(Adam):
    name: str = setting("adamw", "the update rule", neutral="sgd")

    choice: ClassVar[str] = "adamw"


@dataclass
class FinetuneConfig:
    name: str = setting("full", "which parts of the network are trained", choices=("full", "head", "gradual"))
    backbone_lr: float = setting(1.0, "the backbone's learning rate, as a fraction of the head's")
    freeze_batchnorm: bool = setting(False, "keep the backbone's BatchNorm as the weights have it")

    def __post_init__(self) -> None:
        check_choices(self, "finetune")
        require(
            0 < self.backbone_lr <= 1,
            f"finetune.backbone_lr={self.backbone_lr}: above 0, at most 1 (finetune=head fixes the backbone)",
        )
