"""What all tasks share: the optimizer, the rate as a function of progress, what learns when, and resuming."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from ..data.info import DatasetInfo
from ..models.fold import fold_batchnorm
from ..optim.schedule import set_rate
from .graph import CapturedStep
from .table import find_task_row


@contextmanager
def use_full_precision(device: torch.device) -> Iterator[None]:
    """Arithmetic in true fp32, whatever the training used: a reported number is fp32's (no autocast, no TF32)."""
    cudnn = {"enabled": True, "deterministic": True, "allow_tf32": False}
    with torch.autocast(device.type, enabled=False), torch.backends.cudnn.flags(**cudnn):
        yield


def copy_for_evaluation(model: nn.Module, precision: str) -> Callable[[Tensor], Tensor]:
    """The network as it is now, for fast evaluation: folded, in the arithmetic of Lightning's `precision`.

    A copy in bfloat16 is faster than autocast, which would cast the weights anew with every batch.
    """
    dtype = torch.bfloat16 if precision.startswith("bf16") else next(model.parameters()).dtype
    copy = fold_batchnorm(model, dtype)

    def logits(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            output: Tensor = copy(images.to(dtype))
            return output

    return logits


def gather_columns(parts: list[Tensor], rows: int) -> Tensor:
    """The columns that all processes collected, float64 [rows, N] on the CPU."""
    own = torch.cat([torch.zeros(rows, 0, dtype=torch.float64), *(part.cpu() for part in parts)], dim=1)
    if not dist.is_initialized():
        return own
    everyones: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyones, own)
    return torch.cat(everyones, dim=1)


class Task(LightningModule):
    """Trains a network; each step is a pure function of its number, so that a resumed run is the unbroken one.

    `rate` maps the share of training that is done to a learning rate; with `plateau` the rate follows the validation
    loss instead. `monitored` names the splits behind the validation loaders, in their order: "val", and "test" where
    test curves are drawn. `learn` lets those parts of the network learn that do at a share of the epochs, where that
    is not all of it. With `fold` a classifier is validated with BatchNorm folded into its convolutions, in the
    precision of the training; the final test never is. With `graph` a step is one CUDA graph (src/tasks/graph.py): the
    task's `compute`, the backward pass and the update. Nothing is logged inside an epoch; `epoch_metrics` holds the
    numbers of the last one, by names such as "val/loss". The best epoch is chosen by the validation metric
    `headline`.
    """

    name: str  # of its row in the table of tasks
    train_metrics: Metric  # of the running epoch; its states are sums over all processes
    seen: int  # test samples of all processes

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        learning_rate: Callable[[float], float] | None,
        plateau: Callable[[Optimizer], ReduceLROnPlateau] | None = None,
        monitored: tuple[str, ...] = ("val",),
        seed: int = 0,
        learn: Callable[[nn.Module, float], None] | None = None,
        fold: bool = False,
        graph: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.build_optimizer = optimizer
        self.learning_rate = learning_rate
        self.build_plateau = plateau
        self.plateau: ReduceLROnPlateau | None = None
        self.monitored = monitored
        self.seed = seed
        self.learn = learn
        self.fold = fold
        self.graph = graph
        self.captured: CapturedStep | None = None
        self.evaluation_copy: Callable[[Tensor], Tensor] | None = None  # the folded copy, while validation lasts
        if learn is not None:
            learn(model, 1.0)  # what ever learns is what the optimizer gets
        self.epoch_metrics: dict[str, float] = {}
        self.resumed: dict[str, Any] = {}

    @property
    def headline(self) -> str:
        """The metric of the validation that chooses the best epoch; higher is better."""
        return find_task_row(self.name).headline

    def compute(self, *batch: Any) -> tuple[Tensor, Any]:
        """The task's pure step: the loss [] of a batch, and what the metrics are counted from."""
        raise NotImplementedError

    def read_running_figures(self) -> dict[str, Tensor]:
        """Figures [] of the running epoch, where it runs: "loss", its mean so far, and whatever is telling."""
        raise NotImplementedError

    def write_test_files(self, path: Path, info: DatasetInfo) -> None:
        """Write what the final test leaves beside results.json."""
        raise NotImplementedError

    def adopt(self, checkpoint: dict[str, Any]) -> None:
        """Take from a checkpoint what belongs to its weights, beside them."""

    def get_confusion(self) -> Tensor | None:
        """The final test's confusion matrix, int64 [C, C], where the task has one."""
        return None

    def on_train_start(self) -> None:
        self.total_steps = self.trainer.estimated_stepping_batches
        if self.plateau is not None and "plateau" in self.resumed:
            self.plateau.load_state_dict(self.resumed["plateau"])
        if self.global_rank == 0:  # the counts are sums over all processes, so one of them goes on from there
            for name, value in self.resumed.get("train_metrics", {}).items():
                setattr(self.train_metrics, name, value.to(self.device))
        if self.graph:
            self.captured = CapturedStep(self.compute, self.optimizer, capture=self.device.type == "cuda")
        self.on_train_epoch_start()  # Lightning leaves it out where it resumes inside an epoch

    def on_train_epoch_start(self) -> None:
        self.epoch_metrics = {}
        if self.learn is not None:
            self.learn(self.model, self.current_epoch / (self.trainer.max_epochs or 1))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make the step a pure function of its number: its rate, and the random numbers that dropout draws."""
        done = self.trainer.global_step
        if self.learning_rate is not None:
            set_rate(self.optimizer, self.learning_rate(done / self.total_steps))
        entropy = (self.seed, done, batch_idx, self.global_rank)
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        # torch.manual_seed would write down the stack for each kind of device that is not here: 2 ms, and never freed
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_train_epoch_end(self) -> None:
        """To be called at the end of a task's own."""
        if self.plateau is not None:
            self.plateau.step(self.epoch_metrics["val/loss"])
        self.epoch_metrics["lr"] = float(self.optimizer.param_groups[0]["lr"])

    def on_validation_epoch_start(self) -> None:
        """Judge what is saved: averaged weights (a callback has just put them here) and rank 0's statistics."""
        if self.trainer.world_size > 1:  # BatchNorm's statistics are each process's own
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, src=0)
        if self.fold:
            self.evaluation_copy = copy_for_evaluation(self.model, self.trainer.precision)

    def on_validation_epoch_end(self) -> None:
        """To be called in a task's own."""
        self.evaluation_copy = None

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if self.captured is None:  # else it is part of the step
            super().backward(loss, *args, **kwargs)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        if self.captured is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            optimizer_closure()  # the step, which updates the weights itself

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip here: Lightning refuses to under mixed precision where the optimizer is fused, though bf16 needs no
        scaling of the gradients that would stand in the way."""
        if not gradient_clip_val:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        by_value = gradient_clip_algorithm == "value"
        clip = torch.nn.utils.clip_grad_value_ if by_value else torch.nn.utils.clip_grad_norm_
        clip(parameters, gradient_clip_val)

    def configure_optimizers(self) -> Optimizer:
        optimizer = self.build_optimizer(self.model)
        self.plateau = self.build_plateau(optimizer) if self.build_plateau is not None else None
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the counts of all processes, which a checkpoint inside an epoch needs."""
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()
        with self.train_metrics.sync_context():
            state = cast(dict[str, Tensor], self.train_metrics.metric_state)
            checkpoint["train_metrics"] = {name: value.clone() for name, value in state.items()}
        for state in checkpoint.get("optimizer_states", ()):
            for group in state["param_groups"]:
                group["lr"] = float(group["lr"])  # a captured step's is a tensor; the next may go on without capture

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.resumed = {key: checkpoint[key] for key in ("train_metrics", "plateau") if key in checkpoint}

    @property
    def optimizer(self) -> Optimizer:
        """The one optimizer, without Lightning's wrapper."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)
        return optimizer
