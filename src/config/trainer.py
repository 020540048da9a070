"""The choice of devices, precision and length of a training."""

from dataclasses import dataclass

from ..errors import UserError
from .fields import check_choices, require, setting


@dataclass
class TrainerConfig:
    accelerator: str = setting(
        "auto", "where to train; mps: an Apple GPU", identity=False, choices=("auto", "cpu", "gpu", "mps")
    )
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
    max_epochs: int = setting(1, "passes over the training set; auto, for your own pictures: fitted")
    patience: int | None = setting(None, "stop after so many epochs without a better validation headline")
    limit_train_batches: int | None = setting(None, "batches an epoch, for a quick look")
    limit_val_batches: int | None = setting(None, "validation batches, for a quick look")
    limit_test_batches: int | None = setting(None, "test batches, for a quick look")
    checkpoint_minutes: float = setting(10.0, "also save inside an epoch, so often [minutes]", identity=False)
    keep_epochs: list[int] = setting([], "keep the checkpoints after these epochs, for src.analyze", identity=False)
    deterministic: bool = setting(True, "only deterministic algorithms where the device offers them", identity=False)
    detect_anomaly: bool = setting(False, "name the operation that made a NaN (slow)", identity=False)
    progress: bool = setting(True, "draw a progress bar where there is a terminal", identity=False)
    threads: int | None = setting(None, "CPU threads; torch's choice by default", identity=False)

    def __post_init__(self) -> None:
        check_choices(self, "trainer")
        require(self.max_epochs >= 0, f"trainer.max_epochs={self.max_epochs}: at least 1")  # 0 is "auto"
        for name in ("accumulate", "num_nodes"):
            require(getattr(self, name) >= 1, f"trainer.{name}={getattr(self, name)}: at least 1")
        for name in (
            "devices",
            "limit_train_batches",
            "limit_val_batches",
            "limit_test_batches",
            "threads",
            "patience",
        ):
            value = getattr(self, name)
            require(value is None or value >= 1, f"trainer.{name}={value}: at least 1")
        require((self.threads or 1) <= 1024, f"trainer.threads={self.threads}: at most 1024")
        if beyond := [epoch for epoch in self.keep_epochs if not 1 <= epoch <= self.max_epochs]:
            raise UserError(f"trainer.keep_epochs=[{beyond[0]}]: from 1 to {self.max_epochs}, trainer.max_epochs")
        require(self.checkpoint_minutes >= 0, f"trainer.checkpoint_minutes={self.checkpoint_minutes}: at least 0")

    @property
    def world(self) -> int:
        """Return the number of processes that train together."""
        return (self.devices or 1) * self.num_nodes
