"""Run our side of the speed comparisons: a composed, assembled training and its clock."""

import contextlib
import copy
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback

from ..cli.compose import compose_run
from ..data.raw import Raw
from ..runs.directory import Run
from ..tasks.classification import ClassificationTask
from ..training.assemble import assemble, prepare_network
from ..training.fit import begin_session
from ..training.settle import Settled, settle
from ..training.stopping import Interrupted
from ..training.trainer import build_trainer
from .images import build_image_data
from .rounds import reset_determinism

BATCH = 128


def read_clock() -> float:
    """Return the time at which all work of a GPU is done [s]."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock(Callback):
    """Times a Trainer's last epoch: its training steps, all of it with checkpoints, and its validation [s]."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = read_clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            if isinstance(pl_module, ClassificationTask):
                pl_module.train_metrics.count()  # what its steps have postponed
            self.steps = read_clock() - self.began

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch = time.perf_counter() - self.began

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validation_began = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validation = time.perf_counter() - self.validation_began


class InterleavedClock(Clock):
    """Runs a step of another loop after each of the Trainer's; its seconds are ``theirs`` and in no other figure.

    The machine's speed changes by several hundredths from one second to the next, more than a framework may cost.
    """

    def __init__(self, other: Iterator[None]) -> None:
        self.other, self.theirs = other, 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        paused, deterministic = read_clock(), torch.are_deterministic_algorithms_enabled()
        reset_determinism()
        began = read_clock()
        next(self.other)
        self.theirs += read_clock() - began
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        self.began += read_clock() - paused


class Terminal(io.StringIO):
    """A terminal whose progress bars nobody sees."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def simulate_terminal() -> Iterator[None]:
    """Send output to a simulated terminal, so that both sides draw their progress bars."""
    screen = Terminal()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        yield


def compose_config(*overrides: str) -> Settled:
    """Compose and settle the configuration that ``python -m src.train <overrides>`` would run."""
    return settle(compose_run(*overrides))


class Training:
    """A network on CIFAR-10 that trains an epoch at a time with all that a run has: metrics, bar, CSV, checkpoints."""

    def __init__(self, raw: Raw, *overrides: str, model: str, images: int, val: int = 0) -> None:
        without = () if val else ("data.val_fraction=0",)
        settled = compose_config(
            "data=cifar10", f"model={model}", "trainer=cpu", "trainer.max_epochs=1", *without, *overrides
        )
        self.config = settled.config
        seed_everything(self.config.seed, verbose=False)
        self.data = build_image_data(raw, self.config, images=images, val=val)
        self.assembly = assemble(settled, data=self.data)
        self.model, self.task = self.assembly.network, self.assembly.task
        contiguous = torch.contiguous_format  # as torch makes it
        self.fresh = copy.deepcopy(self.model).to(memory_format=contiguous)
        prepare_network(self.config, self.model)
        self.macs: int = self.assembly.facts["macs"]

    def epoch(self, clock: Clock | None = None) -> Clock:
        """Train an epoch from the present weights, in a temporary run directory."""
        clock = clock or Clock()
        with tempfile.TemporaryDirectory() as folder, simulate_terminal():
            run = Run(Path(folder), "bench")
            trainer = begin_session(self.assembly, run).trainer
            trainer.callbacks.insert(0, clock)  # type: ignore[attr-defined]
            run.start(self.config, "bench", self.assembly.settled.content)
            try:
                trainer.fit(self.task, self.data)
            except Interrupted:
                raise KeyboardInterrupt from None
        return clock

    def validate(self) -> Clock:
        """Validate as at the end of each epoch."""
        clock = Clock()
        trainer = build_trainer(self.config)
        trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        trainer.validate(self.task, self.data.eval_loader("val"), verbose=False)
        return clock
