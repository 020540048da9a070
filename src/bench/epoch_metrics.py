"""Compare e: an epoch's metrics from our confusion matrix against torchmetrics, used in two ways."""

import time
from collections.abc import Iterator
from types import MethodType

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ..metrics.confusion import ClassificationMetrics
from ..tasks.classification import step
from ..training.trainer import quiet_lightning
from .peers.logged_metrics import Bare, Logged
from .peers.updated_metrics import Updated
from .rounds import Comparison
from .settings import Settings

BATCH, FEATURES, CLASSES = 128, 64, 10


BLOCK = 20  # steps


NAMES = ("accuracy", "precision", "recall", "f1")


class Counted(Bare):
    """The step of ClassificationTask on the same small network, with our metrics."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.metrics = ClassificationMetrics(classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, cells = step(self.model, *batch)
        self.metrics.update(cells, loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.computed = self.metrics.compute()
        self.metrics.reset()


class Batches:
    """Batches that are in memory already; Lightning would take a list of them for a list of loaders."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.batches = [
            (torch.randn(BATCH, FEATURES, generator=generator), torch.randint(CLASSES, (BATCH,), generator=generator))
            for _ in range(count)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)


class Alternation(Callback):
    """Runs every other block of steps without metrics, and records when each step began.

    The machine's speed changes by more than metrics cost, and soon: only neighbours can be compared.
    """

    def __init__(self) -> None:
        self.began: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: object, batch_idx: int) -> None:
        kind = Bare if batch_idx // BLOCK % 2 else type(module)
        module.training_step = MethodType(kind.training_step, module)  # type: ignore[method-assign]
        self.began.append(time.perf_counter())

    def compute_added_time(self) -> float:
        """Return the median over pairs of blocks of the median step with metrics less the one without [s].

        The first step of a block is left out: it begins in the other's end.
        """
        whole = len(self.began[1:]) // (2 * BLOCK)
        steps = np.diff(self.began)[: 2 * BLOCK * whole].reshape(whole, 2, BLOCK)[:, :, 1:]
        with_metrics, without = np.median(steps, axis=2).T
        return float(np.median(with_metrics - without))


def compare_epoch_metrics(settings: Settings) -> list[Comparison]:
    """e. Compare what metrics add to a training step: the time of steps with them less that of steps without."""
    batches = Batches(max(settings.images // 4, 4 * BLOCK) + 1)
    logged, updated = "torchmetrics, forward and log", "torchmetrics, update and compute"
    return [
        Comparison(
            f"e. Accuracy and macro precision, recall and F1 of {len(batches)} steps: what they add to a step",
            "µs",
            {
                "confusion matrix": lambda: measure_added_time(Counted, batches),
                updated: lambda: measure_added_time(Updated, batches),
                logged: lambda: measure_added_time(Logged, batches),
            },
            {updated: None, logged: 50.0},
            lower_is_better=True,
            notes=[
                f"largest difference between our epoch metrics and either peer's: {measure_difference(batches):.1e} "
                "(target 1e-6)",
                "update and compute: MetricCollection with compute groups, as torchmetrics' manual recommends; "
                "its epoch's end and ours are divided among the steps",
                "forward and log: the collection is called and logged at each step, which also shows each batch's "
                "metrics; its epoch's end is not counted",
            ],
        )
    ]


def measure_added_time(kind: type[Bare], batches: Batches) -> float:
    """Return what metrics add to a step [µs], with a part of what they leave for the epoch's end."""
    module, steps = kind(FEATURES, CLASSES), Alternation()
    ending = 0.0
    if isinstance(module, Counted | Updated):
        finish = module.on_train_epoch_end

        def finish_timed() -> None:
            nonlocal ending
            began = time.perf_counter()
            finish()
            ending = time.perf_counter() - began

        module.on_train_epoch_end = finish_timed  # type: ignore[method-assign]
    train_epoch(module, batches, steps)
    return 1e6 * (steps.compute_added_time() + ending / (len(batches) / 2))  # every other block has metrics


def train_epoch(module: LightningModule, batches: Batches, *callbacks: Callback) -> dict[str, Tensor]:
    """Train an epoch with all that a Trainer does; return what was logged for it."""
    quiet_lightning()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches)
    return dict(trainer.callback_metrics)


def measure_difference(batches: Batches) -> float:
    """Return the largest difference between our metrics of an epoch and those of either peer."""
    ours, logging, updating = (kind(FEATURES, CLASSES) for kind in (Counted, Logged, Updated))
    for peer in (logging, updating):
        peer.model.load_state_dict(ours.model.state_dict())
    train_epoch(ours, batches)
    by_logging, by_updating = train_epoch(logging, batches), train_epoch(updating, batches)
    assert isinstance(ours, Counted)
    found = [(by_logging[f"{name}_epoch"], by_updating[name], ours.computed[name]) for name in NAMES]
    return max(abs(float(theirs) - float(own)) for *peers, own in found for theirs in peers)
