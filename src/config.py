"""The typed schema of a run: names, types and neutral defaults. Recipes live in ``conf/``.

Each leaf says in its metadata whether it is part of a run's identity (``src.runs.config_hash``); only identity
leaves that differ from the defaults below are hashed, so a new field with its default changes no hash.
Importing this module imports no torch: ``--help`` and configuration errors must not wait for it.
"""

from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar

from src.errors import UserError


def setting(default: Any, help: str, *, identity: bool = True, choices: tuple[str, ...] = ()) -> Any:
    """A configuration field with its default, one line of help, and whether it is part of a run's identity."""
    metadata = {"help": help, "identity": identity, "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def default_of(f: "Field[Any]") -> Any:
    """The neutral default of a dataclass field."""
    return f.default_factory() if f.default_factory is not MISSING else f.default


def check_choices(config: Any, group: str) -> None:
    """Raise UserError where a field holds a value that its metadata does not list."""
    for f in fields(config):
        choices = f.metadata.get("choices")
        if choices and getattr(config, f.name) not in choices:
            raise UserError(
                f"{group}.{f.name}={getattr(config, f.name)!r} is not a choice; choose one of: {', '.join(choices)}"
            )


def require(condition: bool, message: str) -> None:
    """Raise UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)


@dataclass
class ModelConfig:
    """A network by name. Each family subclasses this in ``src/models/variants.py``; a row is one instance."""

    name: str = setting("", "the registered name of the row")
    weights: str | None = setting(
        None,
        "what training starts from: a run directory, a weights file, torchvision's name of its weights, KERAS_IMAGENET",
        identity=False,
    )
    weights_sha256: str = setting("", "the content of that file; filled in, or given to insist on it")

    family: ClassVar[str] = ""  # the name of the family's own row, which has the dials
    builder: ClassVar[str] = ""  # the function that builds the network: "module:function"

    @property
    def source(self) -> str:
        """Where the network was published."""
        return ""

    @property
    def native_size(self) -> int:
        """Side of the square images that the network was designed for [pixels]."""
        return 32

    @property
    def warmup(self) -> float:
        """The share of training that the network needs at a tenth of the rate."""
        return 0.0

    def check(self) -> None:
        """Raise UserError where the family has no such network."""


@dataclass
class DataConfig:
    name: str = setting("", "the data set")
    root: str = setting("data", "the folder that holds the data sets", identity=False)
    download: bool = setting(True, "fetch a missing official set", identity=False)
    batch_size: int = setting(128, "images an optimizer step, over all devices and accumulated parts")
    eval_batch_size: int = setting(512, "images a validation or test batch, over all devices", identity=False)
    val_fraction: float = setting(0.1, "share of the training set held out for validation, in [0, 1)")
    split_seed: int = setting(0, "seed of the validation cut and of limit_train")
    limit_train: float | None = setting(
        None, "train on a class-balanced subset: a share (at most 1) or a number of images (above 1)"
    )
    classes: list[str] | None = field(
        default=None,
        metadata={"help": "keep only these classes, by name or number, in this order", "identity": True},
    )
    image_size: int | None = setting(None, "side of the square images; the set's own by default [pixels]")
    channels: int | None = setting(None, "1 or 3; the set's own by default")
    normalize: str = setting(
        "dataset",
        "how pixels are scaled; half: to [-1, 1], weights: as for the initial weights",
        choices=("auto", "dataset", "imagenet", "half", "per_pixel_mean", "none", "weights"),
    )
    augment: str = setting("none", "the training augmentation preset, by name (src/data/transforms.py)")
    skip_unreadable: bool = setting(False, "go on without image files that cannot be read")

    def __post_init__(self) -> None:
        check_choices(self, "data")
        require(self.batch_size >= 1, f"data.batch_size={self.batch_size}: at least 1 image")
        require(self.eval_batch_size >= 1, f"data.eval_batch_size={self.eval_batch_size}: at least 1 image")
        require(0 <= self.val_fraction < 1, f"data.val_fraction={self.val_fraction}: from 0 up to, but not, 1")
        require(
            self.limit_train is None or self.limit_train > 0,
            f"data.limit_train={self.limit_train}: a share in (0, 1] or a number of images above 1",
        )
        require(self.channels in (None, 1, 3), f"data.channels={self.channels}: 1 or 3")
        require(
            self.image_size is None or 4 <= self.image_size <= 2048,
            f"data.image_size={self.image_size}: from 4 to 2048 pixels",
        )
        require(self.classes is None or len(self.classes) >= 2, f"data.classes={self.classes}: at least two classes")


@dataclass
class TaskConfig:
    name: str = setting("multiclass", "what is learned", choices=("multiclass",))
    label_smoothing: float = setting(0.0, "share of the target spread over all classes, in [0, 1)")

    def __post_init__(self) -> None:
        check_choices(self, "task")
        require(0 <= self.label_smoothing < 1, f"task.label_smoothing={self.label_smoothing}: from 0 up to, but not, 1")


@dataclass
class OptimConfig:
    """The optimizer and the rate's course. Points in time are shares of the whole training, so that they scale."""

    name: str = setting("sgd", "the update rule", choices=("sgd", "adam", "adamw"))
    lr: float = setting(0.1, "peak learning rate, for the global batch")
    momentum: float = setting(0.9, "SGD's momentum; Adam's first beta")
    nesterov: bool = setting(False, "Nesterov's momentum (SGD)")
    weight_decay: float = setting(0.0, "L2 penalty (SGD, Adam) or decoupled decay (AdamW)")
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


@dataclass
class TrainerConfig:
    accelerator: str = setting("auto", "where to train", identity=False, choices=("auto", "cpu", "gpu"))
    devices: int | None = setting(None, "how many devices; by default one, with trainer=ddp every GPU")
    strategy: str = setting("auto", "one device, or one process a device", identity=False, choices=("auto", "ddp"))
    precision: str = setting("auto", "arithmetic of the training", choices=("auto", "fp32", "bf16"))
    channels_last: bool = setting(True, "images and weights in NHWC order")
    compile: bool = setting(False, "torch.compile the network")
    accumulate: int = setting(1, "parts that a batch is computed in, to save memory")
    max_epochs: int = setting(1, "passes over the training set")
    limit_train_batches: int | None = setting(None, "batches an epoch, for a quick look")
    limit_val_batches: int | None = setting(None, "validation batches, for a quick look")
    limit_test_batches: int | None = setting(None, "test batches, for a quick look")
    checkpoint_minutes: float = setting(10.0, "also save inside an epoch, so often [minutes]", identity=False)
    deterministic: bool = setting(True, "only deterministic algorithms where the device offers them", identity=False)
    detect_anomaly: bool = setting(False, "name the operation that made a NaN (slow)", identity=False)
    progress: bool = setting(True, "draw a progress bar where there is a terminal", identity=False)
    threads: int | None = setting(None, "CPU threads; torch's choice by default", identity=False)

    def __post_init__(self) -> None:
        check_choices(self, "trainer")
        for name in ("max_epochs", "accumulate"):
            require(getattr(self, name) >= 1, f"trainer.{name}={getattr(self, name)}: at least 1")
        for name in ("devices", "limit_train_batches", "limit_val_batches", "limit_test_batches", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"trainer.{name}={value}: at least 1")


@dataclass
class LoggerConfig:
    name: str = setting("csv", "beside metrics.csv", identity=False, choices=("csv", "tensorboard", "wandb"))
    project: str = setting("deep-residual-learning", "W&B's project", identity=False)
    entity: str | None = setting(None, "W&B's team or user", identity=False)
    group: str | None = setting(None, "W&B's group; the experiment's name by default", identity=False)
    job_type: str = setting("train", "W&B's job type", identity=False)
    tags: list[str] = field(default_factory=list, metadata={"help": "W&B's tags", "identity": False})
    mode: str = setting(
        "auto", "W&B: auto is online with a key, else offline", identity=False, choices=("auto", "online", "offline")
    )

    def __post_init__(self) -> None:
        check_choices(self, "logger")


@dataclass
class TrainConfig:
    """One run. ``model`` … ``logger`` are config groups."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seed: int = setting(0, "seed of the initial weights, the order and the augmentation")
    protocol: str = setting("last", "which weights the test sees: last or best_val", choices=("last", "best_val"))
    monitor_test: bool = setting(False, "also draw test curves for a figure; they never select anything")
    experiment_name: str = setting("", "the experiment's name, for groups and reports", identity=False)
    output_root: str = setting("outputs", "the folder of the run directories", identity=False)
    fresh: bool = setting(False, "start over: delete what the run directory holds", identity=False)
    resume: str | None = setting(None, "continue this run directory under changed devices or epochs", identity=False)
    resume_anyway: bool = setting(False, "resume although the code has changed since", identity=False)
    debug: bool = setting(False, "show tracebacks", identity=False)

    def __post_init__(self) -> None:
        check_choices(self, "top level")
        require(
            not (self.protocol == "best_val" and self.data.val_fraction == 0),
            "protocol=best_val needs a validation set, but data.val_fraction=0 keeps none; use protocol=last",
        )
        require(
            not (self.optim.schedule == "plateau" and self.data.val_fraction == 0),
            "optim.schedule=plateau watches the validation loss, but data.val_fraction=0 keeps no validation set",
        )
        require(
            self.finetune.name == "full" or self.model.weights is not None,
            f"finetune={self.finetune.name}: the backbone would stay random; say what to start from: model.weights=…",
        )
        require(
            self.model.weights is not None or not self.model.weights_sha256,
            "model.weights_sha256: of which file? model.weights=… says it",
        )
        require(
            not (self.trainer.compile and getattr(self.model, "checkpoint_activations", False)),
            "trainer.compile=true: torch cannot compile a network that recomputes its blocks as "
            "model.checkpoint_activations=true asks; choose one of them",
        )
        require(0 <= self.seed < 2**32, f"seed={self.seed}: from 0 to 2**32 - 1")
