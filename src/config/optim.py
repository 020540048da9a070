"""The choice of the optimizer and the learning rate's course."""

from dataclasses import dataclass

from .fields import check_choices, require, setting


@dataclass
class OptimConfig:
    """The optimizer and the rate's course. Points in time are shares of the whole training, so that they scale."""

    name: str = setting("sgd", "the update rule", choices=("sgd", "muon", "adam", "adamw"))
    lr: float = setting(0.1, "peak learning rate, for the global batch")
    momentum: float = setting(0.9, "momentum of SGD and Muon; Adam's first beta")
    nesterov: bool = setting(False, "Nesterov's momentum (SGD)")
    weight_decay: float = setting(0.0, "L2 penalty (SGD, Adam) or decoupled decay (AdamW, Muon)")
    sgd_lr: float = setting(0.1, "Muon: peak rate of SGD, by which all learn that are no kernels")
    sgd_momentum: float = setting(0.9, "Muon: Nesterov's momentum of that SGD")
    newton_schulz: int = setting(5, "Muon: iterations that make a step orthogonal")
    unit_norm: bool = setting(
        False, "Muon: keep each kernel at norm sqrt(channels out); for those with a normalisation behind them"
    )
    bias_lr: float = setting(1.0, "rate of the biases, those of normalisations too, as a multiple of their own")
    decay_norm_and_bias: bool = setting(True, "weight decay on normalisation parameters and biases too")
    schedule: str = setting(
        "constant",
        "the rate's course",
        choices=("constant", "cosine", "multistep", "onecycle", "plateau"),
    )
    warmup: float | None = setting(
        None, "share of training with a lower rate at its start; by default what the network's paper asks for"
    )
    warmup_start: float = setting(0.1, "rate at the start of the warm-up, as a share of lr")
    warmup_shape: str = setting("linear", "how the warm-up rises to lr", choices=("linear", "constant"))
    milestones: list[float] = setting([], "shares of training at which the rate falls by gamma (multistep)")
    gamma: float = setting(0.1, "factor of a fall (multistep, plateau)")
    patience: int = setting(5, "epochs without a better validation loss before the rate falls (plateau)")
    final: float = setting(0.0, "rate at the end, as a share of lr (cosine, onecycle) or its floor (plateau)")
    clip_norm: float = setting(0.0, "largest gradient norm; 0 leaves gradients alone")
    ema: float = setting(0.0, "decay a step of the weights' exponential moving average; 0 keeps none")

    def __post_init__(self) -> None:
        check_choices(self, "optim")
        require(self.lr > 0, f"optim.lr={self.lr}: above 0")
        require(self.weight_decay >= 0, f"optim.weight_decay={self.weight_decay}: at least 0")
        require(0 <= self.momentum < 1, f"optim.momentum={self.momentum}: from 0 up to, but not, 1")
        require(
            not self.nesterov or (self.name == "sgd" and self.momentum > 0),
            "optim.nesterov=true: needs optim.name=sgd and optim.momentum above 0",
        )
        require(self.sgd_lr > 0, f"optim.sgd_lr={self.sgd_lr}: above 0")
        require(0 <= self.sgd_momentum < 1, f"optim.sgd_momentum={self.sgd_momentum}: from 0 up to, but not, 1")
        require(self.newton_schulz >= 1, f"optim.newton_schulz={self.newton_schulz}: at least 1 iteration")
        require(self.bias_lr > 0, f"optim.bias_lr={self.bias_lr}: above 0")
        require(
            self.warmup is None or 0 <= self.warmup < 1, f"optim.warmup={self.warmup}: a share of training in [0, 1)"
        )
        require(
            all(0 < m < 1 for m in self.milestones) and self.milestones == sorted(self.milestones),
            f"optim.milestones={self.milestones}: rising shares of training between 0 and 1",
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


@dataclass
class FinetuneConfig:
    name: str = setting("full", "which parts of the network learn", choices=("full", "head", "gradual"))
    backbone_lr: float = setting(1.0, "the backbone's rate, as a share of the head's")
    freeze_batchnorm: bool = setting(False, "keep the backbone's BatchNorm as the weights have it")

    def __post_init__(self) -> None:
        check_choices(self, "finetune")
        require(
            0 < self.backbone_lr <= 1,
            f"finetune.backbone_lr={self.backbone_lr}: above 0, at most 1 (finetune=head fixes the backbone)",
        )
