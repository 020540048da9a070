"""Our side of the speed comparisons: a composed, assembled training and its clock."""

import contextlib
import copy
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback

from ..data.raw import Raw
from ..runs.directory import Run
from ..tasks.classification import ClassificationTask
from ..training.assemble import arrange, assemble
from ..training.fit import begin_session
from ..training.settle import Settled, settle
from ..training.stopping import Interrupted
from ..training.trainer import build_trainer
from .images import image_data
from .rounds import as_torch_starts

BATCH = 128


def now() -> float:
    """The time at which all that a GPU was told is done [s]."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock(Callback):
    """Seconds of a Trainer's last epoch: of its training steps, of all of it with checkpoints, and of a validation."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = now()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            if isinstance(pl_module, ClassificationTask):
                pl_module.train_metrics.count()  # what its steps have left for later
            self.steps = now() - self.began

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch = time.perf_counter() - self.began

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validation_began = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validation = time.perf_counter() - self.validation_began


class Turns(Clock):
    """Lets another loop do a step after each of the Trainer's; its seconds are ``theirs`` and in no other figure.

    The machine's speed changes by several hundredths from one second to the next, more than a framework may cost.
    """

    def __init__(self, other: Iterator[None]) -> None:
        self.other, self.theirs = other, 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        paused, deterministic = now(), torch.are_deterministic_algorithms_enabled()
        as_torch_starts()
        began = now()
        next(self.other)
        self.theirs += now() - began
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        self.began += now() - paused


class Terminal(io.StringIO):
    """Draws progress bars for nobody."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Output as to a terminal, so that both sides draw their bars."""
    screen = Terminal()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        yield


def compose(*overrides: str) -> Settled:
    """Compose and settle the configuration that ``python -m src.train <overrides>`` would run."""
    from hydra import compose, initialize_config_dir

    from ..cli.compose import CONF, store_schema, typed

    store_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = typed(compose("train", list(overrides)))
    return settle(config)


class Training:
    """A network on CIFAR-10, trained an epoch at a time with all that a run has: metrics, bar, CSV, checkpoints."""

    def __init__(self, raw: Raw, *overrides: str, model: str, images: int, val: int = 0) -> None:
        without = () if val else ("data.val_fraction=0",)
        settled = compose("data=cifar10", f"model={model}", "trainer=cpu", "trainer.max_epochs=1", *without, *overrides)
        self.config = settled.config
        seed_everything(self.config.seed, verbose=False)
        self.assembly = assemble(settled, data=image_data(raw, self.config, images=images, val=val))
        self.data, self.model, self.task = self.assembly.data, self.assembly.network, self.assembly.task
        self.fresh = copy.deepcopy(self.model)  # contiguous, as torch makes it
        arrange(self.config, self.model)
        self.macs: int = self.assembly.facts["macs"]

    def epoch(self, clock: Clock | None = None) -> Clock:
        """Train an epoch, from where the weights stand, in a run directory that is thrown away."""
        clock = clock or Clock()
        with tempfile.TemporaryDirectory() as folder, terminal():
            run = Run(Path(folder), "bench")
            trainer = begin_session(self.assembly, run).trainer
            trainer.callbacks.insert(0, clock)  # type: ignore[attr-defined]
            run.start(self.config, "bench")
            try:
                trainer.fit(self.task, self.data)
            except Interrupted:
                raise KeyboardInterrupt from None
        return clock

    def validate(self) -> Clock:
        """A validation as at the end of each epoch."""
        clock = Clock()
        trainer = build_trainer(self.config)
        trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        trainer.validate(self.task, self.data.eval_loader("val"), verbose=False)
        return clock
