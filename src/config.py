"""The typed schema of a run: names, types and neutral defaults. Recipes live in ``conf/``.

Each leaf says in its metadata whether it is part of a run's identity (``src.runs.config_hash``); only identity
leaves that differ from the defaults below are hashed, so a new field with its default changes no hash.
Importing this module imports no torch: ``--help`` and configuration errors must not wait for it.
"""

import re
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
    test_size: int | None = setting(
        None, "photos: side of validation and test images; by default the preset's, or data.image_size [pixels]"
    )
    train_sizes: list[int] = setting(
        [],
        "photos: sides of the training images, each for an equal part of the epochs (progressive resizing); "
        "detection: their shorter sides, drawn by the image [pixels]",
    )
    train_sizes_ramp: list[float] = setting(
        [], "photos: [from, to], shares of the epochs between which the side rises from the first to the last of them"
    )
    mixup: float | None = setting(None, "photos: parameter of mixup's Beta law; by default the preset's; 0: none")
    cutmix: float | None = setting(None, "photos: parameter of CutMix's Beta law; by default the preset's; 0: none")
    ten_crop: bool = setting(False, "photos: test on corners, centre and their mirror images, averaged")
    workers: int | None = setting(
        None, "processes that read data, a device; by default the cores less one", identity=False
    )
    max_size: int | None = setting(
        None, "detection: the most that the longer side becomes; by default 5/3 of the shorter one's [pixels]"
    )
    train_json: str | None = setting(None, "data=coco: your own training annotations", identity=False)
    train_images: str | None = setting(None, "the folder of their images; beside them by default", identity=False)
    val_json: str | None = setting(
        None, "your own validation annotations; without test_json, the test's", identity=False
    )
    val_images: str | None = setting(None, "the folder of their images; beside them by default", identity=False)
    test_json: str | None = setting(None, "your own test annotations", identity=False)
    test_images: str | None = setting(None, "the folder of their images; beside them by default", identity=False)

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
        require(
            self.classes is None or len(self.classes) >= (1 if self.name == "coco" else 2),
            f"data.classes={self.classes}: at least two classes",
        )
        require(self.workers is None or self.workers >= 0, f"data.workers={self.workers}: at least 0")
        self._check_photos()

    def _check_photos(self) -> None:
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"data.{name}={value}: above 0, or 0 for none")
        require(
            self.test_size is None or 4 <= self.test_size <= 2048,
            f"data.test_size={self.test_size}: from 4 to 2048 pixels",
        )
        require(
            self.max_size is None or self.max_size >= max(self.test_size or self.image_size or 4, *self.train_sizes, 4),
            f"data.max_size={self.max_size}: the longer side is at least as long as the shorter one",
        )
        sizes, ramp = self.train_sizes, self.train_sizes_ramp
        require(all(4 <= size <= 2048 for size in sizes), f"data.train_sizes={sizes}: each from 4 to 2048 pixels")
        require(
            not sizes or self.image_size is None,
            f"data.train_sizes={sizes} and data.image_size={self.image_size}: both name the training images' side",
        )
        require(
            not ramp or (len(ramp) == 2 and 0 <= ramp[0] < ramp[1] <= 1 and len(sizes) == 2),
            f"data.train_sizes_ramp={ramp}: two rising shares of the epochs, between two data.train_sizes",
        )


DETECTION = ("detection", "instance_segmentation")
EVALUATORS = ("faster_coco_eval", "pycocotools")
TASKS = ("multiclass", "multilabel", *DETECTION)
DETECTORS = ("", "faster_rcnn", "retinanet", "mask_rcnn")


@dataclass
class TaskConfig:
    name: str = setting("multiclass", "what is learned", choices=TASKS)
    label_smoothing: float = setting(0.0, "share of the target spread over all classes, in [0, 1)")
    test_flip: bool = setting(False, "multiclass: in the test, also average over mirror images: test/accuracy_flip")
    loss: str = setting("bce", "multilabel: binary cross-entropy, or Ridnik et al. 2021", choices=("bce", "asymmetric"))
    gamma_negative: float = setting(4.0, "asymmetric loss: how little an easy absent label counts; 0 or at least 1")
    gamma_positive: float = setting(0.0, "asymmetric loss: how little an easy present label counts; 0 or at least 1")
    margin: float = setting(0.05, "asymmetric loss: absent labels of a lower probability count nothing")
    detector: str = setting("", "what finds objects on the backbone's maps", choices=DETECTORS)
    freeze_batchnorm: bool | None = setting(
        None, "detection: keep the backbone's BatchNorm as the weights have it; by default where there are weights"
    )
    trainable_stages: int | None = setting(
        None,
        "detection: parts of the backbone that learn, from its end; by default 3 where there are weights, else all",
    )
    box_samples: int = setting(512, "Faster and Mask R-CNN: boxes of an image that the second stage learns from")
    score_threshold: float = setting(0.05, "detection: the lowest score of what is found, in [0, 1)")
    evaluator: str = setting(
        "faster_coco_eval", "detection: what computes COCO's numbers", identity=False, choices=EVALUATORS
    )

    def __post_init__(self) -> None:
        check_choices(self, "task")
        self._check_detection()
        require(0 <= self.label_smoothing < 1, f"task.label_smoothing={self.label_smoothing}: from 0 up to, but not, 1")
        require(
            self.name == "multiclass" or self.label_smoothing == 0,
            f"task.label_smoothing={self.label_smoothing}: is for task=multiclass only",
        )
        require(self.name == "multiclass" or not self.test_flip, "task.test_flip=true: is for task=multiclass only")
        for name in ("gamma_negative", "gamma_positive"):
            gamma = getattr(self, name)
            require(gamma == 0 or gamma >= 1, f"task.{name}={gamma}: 0, or at least 1")
        require(0 <= self.margin < 1, f"task.margin={self.margin}: from 0 up to, but not, 1")

    def _check_detection(self) -> None:
        """A detector where there is something to detect; masks and Mask R-CNN together or not at all."""
        detects, masks = self.name in DETECTION, self.name == "instance_segmentation"
        fitting = "mask_rcnn" if masks else "faster_rcnn or retinanet" if detects else "none"
        require(
            bool(self.detector) == detects and (self.detector == "mask_rcnn") == masks,
            f"task.detector={self.detector or 'none'}: with task={self.name} it is {fitting}",
        )
        require(
            self.trainable_stages is None or self.trainable_stages >= 0,
            f"task.trainable_stages={self.trainable_stages}: at least 0",
        )
        require(0 <= self.score_threshold < 1, f"task.score_threshold={self.score_threshold}: from 0 up to, but not, 1")
        require(self.box_samples >= 4, f"task.box_samples={self.box_samples}: at least 4, for a quarter shows objects")


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


@dataclass
class TrainerConfig:
    accelerator: str = setting("auto", "where to train", identity=False, choices=("auto", "cpu", "gpu"))
    devices: int | None = setting(None, "how many devices, of a node; by default one, with trainer=ddp every GPU")
    num_nodes: int = setting(1, "machines, each with as many devices; SLURM's srun or torchrun starts the processes")
    strategy: str = setting("auto", "one device, or one process a device", identity=False, choices=("auto", "ddp"))
    precision: str = setting("auto", "arithmetic of the training", choices=("auto", "fp32", "bf16"))
    channels_last: bool = setting(True, "images and weights in NHWC order")
    compile: bool = setting(False, "torch.compile the network")
    fold: bool = setting(True, "validate classifiers with BatchNorm folded into the convolutions; never the test")
    graph: str = setting(
        "none",
        "CUDA graphs on a GPU: the network's by torch.compile, or the full step's in one",
        choices=("none", "reduce-overhead", "full"),
    )
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
        for name in ("max_epochs", "accumulate", "num_nodes"):
            require(getattr(self, name) >= 1, f"trainer.{name}={getattr(self, name)}: at least 1")
        for name in ("devices", "limit_train_batches", "limit_val_batches", "limit_test_batches", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"trainer.{name}={value}: at least 1")

    @property
    def world(self) -> int:
        """The processes that train together."""
        return (self.devices or 1) * self.num_nodes


@dataclass
class LoggerConfig:
    name: str = setting("csv", "beside metrics.csv", identity=False, choices=("csv", "tensorboard", "wandb"))
    project: str = setting("deep-residual-learning", "W&B's project", identity=False)
    entity: str | None = setting(None, "W&B's team or user", identity=False)
    group: str | None = setting(None, "W&B's group; the experiment's name by default", identity=False)
    job_type: str = setting("train", "W&B's job type", identity=False)
    tags: list[str] = field(
        default_factory=list,
        metadata={"help": "W&B's tags, beside experiment, model, data and task", "identity": False},
    )
    mode: str = setting(
        "auto", "W&B: auto is online with a key, else offline", identity=False, choices=("auto", "online", "offline")
    )

    def __post_init__(self) -> None:
        check_choices(self, "logger")


@dataclass
class RangeConfig:
    """What a search may set a setting to: a number between two bounds, or one of some values."""

    low: float | None = setting(None, "the least", identity=False)
    high: float | None = setting(None, "the most", identity=False)
    log: bool = setting(False, "look at orders of magnitude", identity=False)
    choices: list[Any] = setting([], "in place of the bounds: the values", identity=False)

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        bounds = low is not None and high is not None and low < high and (low > 0 or not self.log)
        require(
            (bounds and not self.choices) or (low is None and high is None and len(self.choices) > 1),
            f"hpo.space: low={low}, high={high}, log={self.log}, choices={self.choices}: "
            "low is to be below high (and above 0 where log=true), or there are two choices at least",
        )
        plain = all(value is None or isinstance(value, bool | int | float | str) for value in self.choices)
        require(plain, f"hpo.space: choices={self.choices}: each is a number, a word, true, false or null")

    def holds(self, value: Any) -> bool:
        """Whether a search could try this value."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high  # type: ignore[operator]


SEARCHED = (  # what a search may vary; the rest is what it is judged by, or what a trial costs
    "optim.",
    "task.label_smoothing",
    "task.loss",
    "task.gamma_negative",
    "task.gamma_positive",
    "task.margin",
    "model.dropout",
    "model.stochastic_depth",
    "finetune.backbone_lr",
    "data.batch_size",
    "data.augment",
    "data.mixup",
    "data.cutmix",
)


@dataclass
class HpoConfig:
    """A search over settings (src/hpo.py)."""

    space: dict[str, RangeConfig] = field(
        default_factory=dict, metadata={"help": "what is searched, by setting", "identity": False}
    )
    trials: int = setting(20, "runs of the search, those that fail or are pruned included", identity=False)
    metric: str = setting("", "a validation metric; by default the task's headline, such as val/map", identity=False)
    prune: bool = setting(True, "end what is worse than the median of the earlier trials", identity=False)
    seed: int = setting(0, "of the choice of points; the runs have their own", identity=False)
    name: str = setting(
        "", "of the search's folder, <output_root>/hpo/<name>; by default of its content", identity=False
    )

    def __post_init__(self) -> None:
        for name in self.space:
            require(
                name.startswith(SEARCHED),
                f"hpo.space: {name} is not for a search, which may vary optim.*, {', '.join(SEARCHED[1:])}",
            )
        require(self.trials >= 1, f"hpo.trials={self.trials}: at least 1")
        require(
            not self.metric or self.metric.startswith("val/"),
            f"hpo.metric={self.metric}: a search chooses by a validation metric, such as val/accuracy; "
            "the test set never chooses, and the training set rewards what overfits",
        )
        require(
            self.metric != "val/loss" or not any(name.startswith("task.") for name in self.space),
            "hpo.metric=val/loss: trials that differ in task.* differ in what their loss means; search one of the two",
        )
        require(
            bool(re.fullmatch(r"(\w[\w.-]*)?", self.name)), f"hpo.name={self.name}: letters, digits, '_', '-' and '.'"
        )
        require(self.seed >= 0, f"hpo.seed={self.seed}: at least 0")


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
    test: bool = setting(
        True, "measure on the test set after training; false leaves that to a later start of the run", identity=False
    )
    monitor_test: bool = setting(False, "also draw test curves for a figure; they never select anything")
    experiment_name: str = setting("", "the experiment's name, for groups and reports", identity=False)
    output_root: str = setting("outputs", "the folder of the run directories", identity=False)
    fresh: bool = setting(False, "start over: delete what the run directory holds", identity=False)
    resume: str | None = setting(None, "continue this run directory under changed devices or epochs", identity=False)
    resume_anyway: bool = setting(False, "resume although the code has changed since", identity=False)
    debug: bool = setting(False, "show tracebacks", identity=False)
    preflight: str = setting(
        "check", "only: train nothing, but say what it will take", identity=False, choices=("check", "only")
    )
    preflight_memory: float | None = setting(
        None, "preflight: the memory that is free for a job, in place of this machine's [GB]", identity=False
    )
    hpo: HpoConfig | None = setting(None, "search over settings: with -m, a name in conf/hpo", identity=False)

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
            self.finetune.name != "head" or self.finetune.backbone_lr == 1,
            f"finetune.backbone_lr={self.finetune.backbone_lr}: finetune=head leaves the backbone as it is",
        )
        require(
            not self.finetune.freeze_batchnorm or self.model.weights is not None,
            "finetune.freeze_batchnorm=true: it would fix random statistics; say what to start from: model.weights=…",
        )
        require(
            self.model.weights is not None or not self.model.weights_sha256,
            "model.weights_sha256: of which file? model.weights=… says it",
        )
        if self.task.name in DETECTION:
            self._check_detection()
        require(
            not (self.trainer.compile and getattr(self.model, "checkpoint_activations", False)),
            "trainer.compile=true: torch cannot compile a network that recomputes its blocks as "
            "model.checkpoint_activations=true asks; choose one of them",
        )
        require(0 <= self.seed < 2**32, f"seed={self.seed}: from 0 to 2**32 - 1")

    def _check_detection(self) -> None:
        require(
            self.optim.schedule != "plateau",
            "optim.schedule=plateau watches the validation loss, and detectors have none; use optim=sgd_multistep",
        )
        require(
            self.finetune == FinetuneConfig(),
            "finetune: of a detector, task.trainable_stages and task.freeze_batchnorm say what learns",
        )
        for name in ("freeze_batchnorm", "trainable_stages"):
            value = getattr(self.task, name)
            require(
                self.model.weights is not None or value is None or value is False,
                f"task.{name}={value}: it would fix a random backbone; say what to start from: model.weights=…",
            )
