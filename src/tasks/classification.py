"""Multi-class classification: one pure step, and the LightningModule around it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from src.metrics import ClassificationMetrics, confusion_matrix, count_top_k
from src.optim import set_rate


def step(model: nn.Module, images: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy [] and the confusion matrix int64 [C, C] of images [B, C, H, W] and labels int64 [B]."""
    logits = model(images)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    return loss, confusion_matrix(logits.detach(), labels)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Arithmetic in true fp32, whatever the training used: a reported number is fp32's (no autocast, no TF32)."""
    cudnn = {"enabled": True, "deterministic": True, "allow_tf32": False}
    with torch.autocast(device.type, enabled=False), torch.backends.cudnn.flags(**cudnn):
        yield


class ClassificationTask(LightningModule):
    """Trains a network to name one class an image, and counts how well it does.

    `rate` maps the share of training that is done to a learning rate; with `plateau` the rate follows the validation
    loss instead. `monitored` names the splits behind the validation loaders, in their order: "val", and "test" where
    test curves are drawn. `learn` lets those parts of the network learn that do at a share of the epochs, where that is
    not all of it. Nothing is logged inside an epoch; `epoch_metrics` holds the numbers of the last one.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        num_classes: int,
        optimizer: Callable[[nn.Module], Optimizer],
        rate: Callable[[float], float] | None,
        plateau: Callable[[Optimizer], ReduceLROnPlateau] | None = None,
        label_smoothing: float = 0.0,
        monitored: tuple[str, ...] = ("val",),
        seed: int = 0,
        learn: Callable[[nn.Module, float], None] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.build_optimizer = optimizer
        self.rate = rate
        self.build_plateau = plateau
        self.plateau: ReduceLROnPlateau | None = None
        self.label_smoothing = label_smoothing
        self.monitored = monitored
        self.seed = seed
        self.learn = learn
        if learn is not None:
            learn(model, 1.0)  # what ever learns is what the optimizer gets
        top5 = num_classes > 5
        self.train_metrics = ClassificationMetrics(num_classes)
        self.val_metrics = nn.ModuleDict({split: ClassificationMetrics(num_classes, top5=top5) for split in monitored})
        self.test_metrics = ClassificationMetrics(num_classes, top5=top5)
        self.epoch_metrics: dict[str, float] = {}
        self.predictions: list[Tensor] = []
        self.resumed: dict[str, Any] = {}

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def on_train_start(self) -> None:
        self.total_steps = self.trainer.estimated_stepping_batches
        if self.global_rank == 0:  # the counts are sums over all processes, so one of them goes on from there
            for name, value in self.resumed.get("train_metrics", {}).items():
                setattr(self.train_metrics, name, value.to(self.device))
        if self.plateau is not None and "plateau" in self.resumed:
            self.plateau.load_state_dict(self.resumed["plateau"])
        self.on_train_epoch_start()  # Lightning leaves it out where it resumes inside an epoch

    def on_train_epoch_start(self) -> None:
        self.epoch_metrics = {}
        if self.learn is not None:
            self.learn(self.model, self.current_epoch / (self.trainer.max_epochs or 1))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make the step a pure function of its number: its rate, and the random numbers that dropout draws."""
        done = self.trainer.global_step
        if self.rate is not None:
            set_rate(self.optimizer, self.rate(done / self.total_steps))
        entropy = (self.seed, done, batch_idx, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, confusion = step(self.model, *batch, label_smoothing=self.label_smoothing)
        self.train_metrics.update(confusion, loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self._collect("train", self.train_metrics)
        if self.plateau is not None:
            self.plateau.step(self.epoch_metrics["val/loss"])
        self.epoch_metrics["lr"] = self.optimizer.param_groups[0]["lr"]

    def on_validation_start(self) -> None:
        """Judge what is saved: BatchNorm's statistics are each process's own, and rank 0's are saved."""
        if self.trainer.world_size > 1:
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int, dataloader_idx: int = 0) -> None:
        images, labels, _ = batch
        self._evaluate(self._monitor(self.monitored[dataloader_idx]), images, labels)

    def on_validation_epoch_end(self) -> None:
        for split in self.monitored:
            self._collect(split, self._monitor(split))

    def on_test_epoch_start(self) -> None:
        self.predictions = []
        self.epoch_metrics = {}

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        images, labels, indices = batch
        with full_precision(self.device):
            logits = self._evaluate(self.test_metrics, images, labels)
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        self.predictions.append(
            torch.stack([indices.double(), labels.double(), predicted.double(), confidence.double()])
        )

    def on_test_epoch_end(self) -> None:
        self.test_confusion = self._collect("test", self.test_metrics).cpu()

    def configure_optimizers(self) -> Optimizer:
        optimizer = self.build_optimizer(self.model)
        self.plateau = self.build_plateau(optimizer) if self.build_plateau is not None else None
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a checkpoint inside an epoch needs: the counts of all processes, and the plateau's memory."""
        with self.train_metrics.sync_context():
            state = cast(dict[str, Tensor], self.train_metrics.metric_state)
            checkpoint["train_metrics"] = {name: value.clone() for name, value in state.items()}
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.resumed = {key: checkpoint[key] for key in ("train_metrics", "plateau") if key in checkpoint}

    @property
    def optimizer(self) -> Optimizer:
        """The one optimizer, without Lightning's wrapper."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)
        return optimizer

    def _monitor(self, split: str) -> ClassificationMetrics:
        return cast(ClassificationMetrics, self.val_metrics[split])

    def _evaluate(self, metrics: ClassificationMetrics, images: Tensor, labels: Tensor) -> Tensor:
        """Count a batch; returns its logits [B, C]."""
        logits = self.model(images).float()
        top5 = count_top_k(logits, labels, 5) if metrics.counts_top5 else None
        metrics.update(confusion_matrix(logits, labels), F.cross_entropy(logits, labels), top5)
        return logits

    def _collect(self, split: str, metrics: ClassificationMetrics) -> Tensor:
        """Read a split's metrics into `epoch_metrics` and reset them; returns the confusion matrix of all processes."""
        values = metrics.compute()
        confusion = values.pop("confusion")
        self.epoch_metrics |= {f"{split}/{name}": float(value) for name, value in values.items()}
        metrics.reset()
        return confusion
