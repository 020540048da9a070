"""The typed schema of a run: names, types and neutral defaults. Recipes live in ``conf/``.

The metadata of each leaf says whether it is part of a run's identity (``src.runs.identity.compute_config_hash``). Only
identity leaves that differ from the defaults below are hashed, so a new field with its default changes no hash.
Importing this module imports no torch: ``--help`` and configuration errors must not wait for it.
"""

from dataclasses import dataclass, field

from .data import DataConfig
from .fields import check_choices, require, setting
from .logger import LoggerConfig
from .model import ModelConfig
from .optim import FinetuneConfig, OptimConfig
from .search import HpoConfig
from .task import FindsObjects, TaskConfig, list_tasks_for
from .trainer import TrainerConfig


@dataclass
class TrainConfig:
    """The settings of one run; ``model`` to ``logger`` are config groups."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: dict[str, LoggerConfig] = setting({}, "what is written beside metrics.csv, by name", identity=False)
    seed: int = setting(0, "of the initial weights, the order and the augmentation; -m seed=auto adds seeds as needed")
    looks: list[int] = setting([], "after how many seeds seed=auto looks at the verdicts; filled in", identity=False)
    least_gain: float = setting(
        0.1, "seed=auto trains no further seed that narrows an interval by a smaller fraction", identity=False
    )
    protocol: str = setting("last", "which weights the test sees: last or best_val", choices=("last", "best_val"))
    test: bool = setting(
        True, "measure on the test set after training; false leaves that to a later start of the run", identity=False
    )
    monitor_test: bool = setting(False, "also draw test curves for a figure; they never select anything")
    experiment_name: str = setting("", "the experiment's name, for groups and reports", identity=False)
    output_root: str = setting("outputs", "the folder of the run directories", identity=False)
    plugins: list[str] = setting([], "your own files or modules that add networks, sets, tasks …", identity=False)
    plugins_sha256: list[str] = setting([], "their content; filled in")
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
        check_choices(self, "")
        for name, value in {"resume": self.resume, "model.weights": self.model.weights}.items():
            require(value != "", f"{name}=: name a run directory, or leave this out")
        require(self.output_root != "", "output_root=: name a folder")
        self._check_fitted()
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
            f"finetune={self.finetune.name}: the backbone would stay random; set what to start from: model.weights=…",
        )
        require(
            self.finetune.name != "head" or self.finetune.backbone_lr == 1,
            f"finetune.backbone_lr={self.finetune.backbone_lr}: finetune=head leaves the backbone as it is",
        )
        require(
            not self.finetune.freeze_batchnorm or self.model.weights is not None,
            "finetune.freeze_batchnorm=true: would fix random statistics; set what to start from: model.weights=…",
        )
        require(
            self.model.weights is not None or not self.model.weights_sha256,
            "model.weights_sha256: names no file; set model.weights=… too",
        )
        require(
            self.task.target in self.data.targets,
            f"task={self.task.name}: data={self.data.name} is for task={', '.join(list_tasks_for(self.data.targets))}",
        )
        if isinstance(self.task, FindsObjects):
            self._check_detection(self.task)
        require(
            not (self.trainer.compile and getattr(self.model, "checkpoint_activations", False)),
            "trainer.compile=true: torch cannot compile a network that recomputes its blocks as "
            "model.checkpoint_activations=true asks; choose one of them",
        )
        require(
            self.preflight_memory is None or self.preflight_memory > 0,
            f"preflight_memory={self.preflight_memory}: above 0 GB",
        )
        require(0 <= self.least_gain < 1, f"least_gain={self.least_gain}: from 0 to below 1")
        require(0 <= self.seed < 2**32, f"seed={self.seed}: from 0 to 2**32 - 1")

    def _check_fitted(self) -> None:
        """Raise UserError for what goes with some data sets and tasks only."""
        for name, number in {"trainer.max_epochs": self.trainer.max_epochs, "optim.lr": self.optim.lr}.items():
            least = "at least 1" if name == "trainer.max_epochs" else "above 0"
            require(number > 0 or self.data.fitted, f"{name}={number}: {least}; auto is for data=folder")
        require(
            self.trainer.patience is None or self.data.val_fraction > 0,
            "trainer.patience watches the validation, but data.val_fraction=0 keeps no validation set",
        )
        balance = getattr(self.data, "balance", "none")
        require(
            balance == "none" or self.task.target == "class",
            f"data.balance={balance}: is for task=multiclass",
        )

    def _check_detection(self, task: FindsObjects) -> None:
        require(
            self.optim.schedule != "plateau",
            "optim.schedule=plateau watches the validation loss, and detectors have none; use optim=sgd_multistep",
        )
        require(
            self.finetune == FinetuneConfig(),
            "finetune: is for classifiers; of a detector, set task.trainable_stages and task.freeze_batchnorm",
        )
        task.check_weights(given=self.model.weights is not None)
