"""The base of all tasks: optimizer, learning rate as a function of progress, unfreezing, and resuming."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import torch
import torch.distributed as dist
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from ..data.info import DatasetInfo
from ..models.fold import fold_batchnorm
from ..optim.averaging import Averaging
from ..optim.schedule import set_learning_rate
from .graph import CapturedStep
from .table import find_task_row


@contextmanager
def use_full_precision(device: torch.device) -> Iterator[None]:
    """Compute in true fp32 inside the block, whatever the training used: no autocast, no TF32."""
    cudnn = {"enabled": True, "deterministic": True, "allow_tf32": False}
    with torch.autocast(device.type, enabled=False), torch.backends.cudnn.flags(**cudnn):
        yield


def copy_for_evaluation(model: nn.Module, precision: str) -> Callable[[Tensor], Tensor]:
    """Return a frozen copy of the network for fast evaluation, folded and in the arithmetic of Lightning's `precision`.

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
    """Gather the columns that all processes collected, as float64 [rows, N] on the CPU."""
    own = torch.cat([torch.zeros(rows, 0, dtype=torch.float64), *(part.cpu() for part in parts)], dim=1)
    if not dist.is_initialized():
        return own
    columns = [own] * dist.get_world_size()
    dist.all_gather_object(columns, own)
    return torch.cat(columns, dim=1)


class RequiredSettings(TypedDict):
    """The arguments that Task cannot do without."""

    model: nn.Module
    optimizer: Callable[[nn.Module], Optimizer]
    learning_rate: Callable[[float], float] | None


class TaskSettings(RequiredSettings, total=False):
    """The arguments of Task, for the signatures of its subclasses."""

    plateau: Callable[[Optimizer], ReduceLROnPlateau] | None
    monitored: tuple[str, ...]
    seed: int
    learn: Callable[[nn.Module, float], None] | None
    fold: bool
    graph: bool
    ema: float
    clip_norm: float


class Task(LightningModule):
    """Train a network in steps that depend only on their number, so that a resumed run equals an unbroken one.

    `learning_rate` maps the fraction of training done to a learning rate; with `plateau` it follows the validation
    loss instead. `monitored` names the splits behind the validation loaders, in their order: "val", and "test" where
    test curves are drawn. `learn` sets which parts of the network are trained at a fraction of the epochs; None trains
    all of them. With `fold` a classifier is validated with BatchNorm folded into its convolutions, in the precision of
    the training; the final test never is. With `graph` a step is one CUDA graph (src/tasks/graph.py): the task's
    `compute`, the backward pass and the update. Nothing is logged inside an epoch; `epoch_metrics` holds the numbers
    of the last one, by names such as "val/loss". The validation metric `headline` chooses the best epoch.

    The task brings what its results depend on, whatever Trainer trains it: with `ema` the averaged weights, with
    `clip_norm` the largest norm of the gradients. `logs` tells whether it logs `epoch_metrics` for the loggers and
    callbacks of a Trainer; training/ has its own, and unsets it.
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
        ema: float = 0.0,
        clip_norm: float = 0.0,
    ) -> None:
        super().__init__()
        self.logs = True
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
        self.ema = ema
        self.clip_norm = clip_norm
        self.captured: CapturedStep | None = None
        self.evaluation_copy: Callable[[Tensor], Tensor] | None = None  # folded; set during validation
        if learn is not None:
            learn(model, 1.0)  # the optimizer gets every parameter that is trained at any time
        self.epoch_metrics: dict[str, float] = {}
        self.resumed: dict[str, Any] = {}

    @property
    def headline(self) -> str:
        """Return the validation metric that chooses the best epoch; higher is better."""
        return find_task_row(self.name).headline

    def compute(self, *batch: Any) -> tuple[Tensor, Any]:
        """Return the loss [] of a batch and the values that the metrics are counted from; change nothing else."""
        raise NotImplementedError

    def read_running_figures(self) -> dict[str, Tensor]:
        """Return figures [] of the running epoch on its device: "loss", its mean so far, and other headline figures."""
        raise NotImplementedError

    def write_test_files(self, path: Path, info: DatasetInfo) -> None:
        """Write the files of the final test beside results.json."""
        raise NotImplementedError

    def draw_contact_sheet(self) -> Tensor | None:
        """Draw what was found in the last validation, uint8 [3, H, W], or return None for nothing to show."""
        return None

    def draw_test_sheet(self) -> Tensor | None:
        """Draw what was found in the final test, uint8 [3, H, W], or return None for nothing to show."""
        return None

    def adopt(self, checkpoint: Mapping[str, object]) -> None:
        """Take from a checkpoint the values that belong to its weights, such as a threshold."""

    def get_confusion(self) -> Tensor | None:
        """Return the final test's confusion matrix, int64 [C, C], or None where the task has none."""
        return None

    def publish(self, *names: str) -> None:
        """Log those numbers of the epoch whose names begin with one of these, such as "val", for a Trainer to use."""
        if self.logs and self._trainer is not None:  # it may be called by hand
            chosen = {name: value for name, value in self.epoch_metrics.items() if name.partition("/")[0] in names}
            self.log_dict(chosen, sync_dist=True)

    def configure_callbacks(self) -> list[Callback]:
        """Return the callback that averages the weights, unless the Trainer has it already."""
        present = any(isinstance(callback, Averaging) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        return [Averaging(self.ema)] if self.ema and not present else []

    def on_train_start(self) -> None:
        self.total_steps = self.trainer.estimated_stepping_batches
        if self.plateau is not None and "plateau" in self.resumed:
            self.plateau.load_state_dict(self.resumed["plateau"])
        if self.global_rank == 0:  # the stored counts are sums over all processes, so only one may continue from them
            for name, value in self.resumed.get("train_metrics", {}).items():
                setattr(self.train_metrics, name, value.to(self.device))
        if self.graph:
            self.captured = CapturedStep(self.compute, self.optimizer, capture=self.device.type == "cuda")
        self.on_train_epoch_start()  # Lightning skips it when it resumes inside an epoch

    def on_train_epoch_start(self) -> None:
        self.epoch_metrics = {}
        if self.learn is not None:
            self.learn(self.model, self.current_epoch / (self.trainer.max_epochs or 1))

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Set the learning rate and the random state from the step's number alone."""
        done = self.trainer.global_step
        if self.learning_rate is not None:
            set_learning_rate(self.optimizer, self.learning_rate(done / self.total_steps))
        entropy = (self.seed, done, batch_idx, self.global_rank)
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        # torch.manual_seed records the stack for each kind of device that is missing: 2 ms, and memory never freed
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_train_epoch_end(self) -> None:
        """Step the plateau schedule, record the learning rate and log the numbers; a subclass calls this last."""
        if self.plateau is not None:
            self.plateau.step(self.epoch_metrics["val/loss"])
        self.epoch_metrics["lr"] = float(self.optimizer.param_groups[0]["lr"])
        self.publish("train", "lr")

    def on_validation_epoch_start(self) -> None:
        """Prepare to evaluate the weights that are saved: averaged ones (a callback has swapped them in), and the
        BatchNorm statistics of rank 0."""
        if self.trainer.world_size > 1:  # each process has BatchNorm statistics of its own
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, src=0)
        if self.fold:
            self.evaluation_copy = copy_for_evaluation(self.model, self.trainer.precision)

    def on_validation_epoch_end(self) -> None:
        """Drop the evaluation copy; a subclass calls this."""
        self.evaluation_copy = None

    def backward(self, loss: Tensor, *args: object, **kwargs: object) -> None:
        if self.captured is None:  # a captured step contains its backward pass
            super().backward(loss, *args, **kwargs)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], object] | None = None,
    ) -> None:
        if self.captured is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        elif optimizer_closure is not None:
            optimizer_closure()  # the captured step, which updates the weights itself

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients here, because Lightning refuses to for a fused optimizer under mixed precision.

        Its reason is the scaling of gradients, which bf16 does not need. A Trainer's own value goes before.
        """
        largest = gradient_clip_val or self.clip_norm
        if not largest:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        by_value = gradient_clip_algorithm == "value"
        clip = torch.nn.utils.clip_grad_value_ if by_value else torch.nn.utils.clip_grad_norm_
        clip(parameters, largest)

    def configure_optimizers(self) -> Optimizer:
        optimizer = self.build_optimizer(self.model)
        self.plateau = self.build_plateau(optimizer) if self.build_plateau is not None else None
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the plateau schedule and the counts of all processes, which a checkpoint inside an epoch needs."""
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()
        with self.train_metrics.sync_context():
            state = cast(dict[str, Tensor], self.train_metrics.metric_state)
            checkpoint["train_metrics"] = {name: value.clone() for name, value in state.items()}
        for state in checkpoint.get("optimizer_states", ()):
            for group in state["param_groups"]:
                group["lr"] = float(group["lr"])  # a captured step has a tensor here, a resumed run may have no capture

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        self.resumed = {key: checkpoint[key] for key in ("train_metrics", "plateau") if key in checkpoint}

    @property
    def optimizer(self) -> Optimizer:
        """Return the optimizer without Lightning's wrapper."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)
        return optimizer
