"""Comparisons a, b, c and f: training and evaluation, by the code behind ``python -m src.train``."""

import contextlib
import copy
import io
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import bare, template
from src.bench.images import cifar, image_data
from src.bench.rounds import Comparison, as_torch_starts
from src.bench.settings import Settings
from src.callbacks import Interrupted, load_checkpoint
from src.config import TrainConfig
from src.data.raw import Raw
from src.errors import UserError
from src.fit import arrange, count, describe, network_weights, prepare
from src.metrics import cells_of
from src.optim import build_optimizer
from src.runs import Run, find_checkpoint
from src.tasks import build_network, build_task
from src.tasks.classification import ClassificationTask
from src.train import settle
from src.trainer import build_trainer, quiet_lightning

BATCH = 128
SIZES = (1024, 2048, 4096)  # of the matrices whose product shows the peak
EVAL_BATCHES = (128, 512, 1000)  # the ratio depends on where fp32's activations pass what malloc keeps
FLOPS_A_MAC = 3 * 2  # forward and twice as much backward; a multiplication and an addition


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


def compose(*overrides: str) -> TrainConfig:
    """The typed configuration that ``python -m src.train <overrides>`` would run, its "auto"s settled."""
    from hydra import compose, initialize_config_dir

    from src.cli import CONF, store_schema, typed
    from src.registry import store_models

    store_schema()
    store_models()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = typed(compose("train", list(overrides)))
    config.data.normalize = "dataset"
    settle(config)
    return config


class Training:
    """A network on CIFAR-10, trained an epoch at a time with all that a run has: metrics, bar, CSV, checkpoints."""

    def __init__(self, raw: Raw, *overrides: str, model: str, images: int, val: int = 0) -> None:
        without = () if val else ("data.val_fraction=0",)
        self.config = compose(
            "data=cifar10", f"model={model}", "trainer=cpu", "trainer.max_epochs=1", *without, *overrides
        )
        seed_everything(self.config.seed, verbose=False)
        self.data = image_data(raw, self.config, images=images, val=val)
        self.model = build_network(self.config, self.data.info, self.data.normalization)
        self.fresh = copy.deepcopy(self.model)  # contiguous, as torch makes it
        arrange(self.config, self.model)
        self.task = build_task(self.config, self.model, self.data.info)
        self.data.monitored = self.task.monitored
        self.macs = count(self.config, self.model, self.data.info)

    def epoch(self, clock: Clock | None = None) -> Clock:
        """Train an epoch, from where the weights stand, in a run directory that is thrown away."""
        clock = clock or Clock()
        with tempfile.TemporaryDirectory() as folder, terminal():
            run = Run(Path(folder), "bench")
            facts = describe(self.config, run, "", self.model, self.data.sizes) | {"macs": self.macs}
            trainer = prepare(self.config, run, facts, self.data.info, self.data.normalization)
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
        trainer = build_trainer(self.config, keeper=None, loggers=[])
        trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        trainer.validate(self.task, self.data.eval_loader("val"), verbose=False)
        return clock


def against_template(settings: Settings) -> list[Comparison]:
    """a. An epoch with its validation and checkpoints, in training images a second."""
    raw, note = cifar(settings.data_root)
    images = settings.images
    ours = Training(raw, model="resnet20", images=images, val=images // 9)  # as 45,000 and 5,000
    template_epoch, tried = best_template(ours)
    return [
        Comparison(
            f"a. ResNet-20, an epoch of {images:,} images, its validation and checkpoints included",
            "images/s",
            {
                f"ours ({ours.config.trainer.precision})": lambda: images / ours.epoch().epoch,
                "template (fp32)": lambda: images / template_epoch().epoch,
            },
            {"template (fp32)": 2.0},
            notes=[note, f"template's seconds an epoch by DataLoader workers: {tried}; measured with the best"],
        )
    ]


def best_template(ours: Training, workers: Iterable[int] = range(3)) -> tuple[Callable[[], Clock], str]:
    """An epoch of the template with the number of workers that is best here, and what was tried."""
    info, optim = ours.data.info, ours.config.optim
    rates = {"lr": optim.lr, "momentum": optim.momentum, "weight_decay": optim.weight_decay}
    module = template.Classifier(ours.fresh, classes=info.num_classes, **rates)
    train = template.Images(*pixels(ours, "train"), template.train_transform(info.mean, info.std, info.image_size))
    val = template.Images(*pixels(ours, "val"), template.test_transform(info.mean, info.std))

    accelerator = ours.config.trainer.accelerator

    def with_workers(number: int) -> Callable[[], Clock]:
        pin = accelerator == "gpu"
        loaders = (
            template.loader(train, batch_size=BATCH, train=True, workers=number, pin=pin),
            template.loader(val, batch_size=BATCH, train=False, workers=number, pin=pin),
        )

        def epoch() -> Clock:
            clock = Clock()
            with tempfile.TemporaryDirectory() as folder, terminal():
                template.fit(module, *loaders, folder=Path(folder), clock=clock, accelerator=accelerator)
            return clock

        return epoch

    as_torch_starts()
    quiet_lightning()  # its log goes to the real stderr
    epochs = {number: with_workers(number) for number in workers}
    seconds = {}
    for number, epoch in epochs.items():
        epoch()  # starts the workers, which stay
        seconds[number] = epoch().epoch
    best = min(seconds, key=seconds.__getitem__)
    return epochs[best], ", ".join(f"{number}: {s:.2f}" for number, s in seconds.items())


def pixels(ours: Training, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images [N, H, W, C] and labels [N] of a split as NumPy has them."""
    loader = ours.data.eval_loader(split)
    return np.ascontiguousarray(loader.images.numpy()), loader.labels.numpy()


def against_bare_loop(settings: Settings) -> list[Comparison]:
    """b. The framework's cost: the same steps by Trainer and Task, and by a loop of a few lines, in turn."""
    raw, note = cifar(settings.data_root)
    ours = Training(raw, model="resnet20", images=settings.images)
    model, classes = ours.fresh.to(memory_format=torch.channels_last), ours.data.info.num_classes
    bf16 = ours.config.trainer.precision == "bf16"
    figures: dict[str, float] = {}  # of the latest epoch, which measures both sides; each is asked for once

    def figure(side: str) -> float:
        if side not in figures:
            optimizer = build_optimizer(ours.config.optim, model)
            loop = bare.train(model, ours.data.train_loader(), optimizer, classes=classes, bf16=bf16)
            ours.epoch(turns := Turns(loop))
            figures.update(trainer=settings.images / turns.steps, loop=settings.images / turns.theirs)
        return figures.pop(side)

    return [
        Comparison(
            f"b. ResNet-20, {ours.config.trainer.precision}, the training steps of an epoch, in turn step by step",
            "images/s",
            {"Trainer and Task": lambda: figure("trainer"), "bare loop": lambda: figure("loop")},
            {"bare loop": 0.99},
            notes=[note],
        )
    ]


def against_peak(settings: Settings) -> list[Comparison]:
    """c. Arithmetic of the training step, as a share of what matrix products reach on this machine."""
    raw, note = cifar(settings.data_root)
    return [
        share_of_peak(raw, note, "resnet20", settings.images, 0.60),
        share_of_peak(raw, note, "resnet20", settings.images, 0.60, compiled=True),
        share_of_peak(raw, note, "resnet110", max(settings.images // 5 // BATCH, 2) * BATCH, 0.68),
    ]


def share_of_peak(raw: Raw, note: str, model: str, images: int, target: float, *, compiled: bool = False) -> Comparison:
    ours = Training(raw, f"trainer.compile={str(compiled).lower()}", model=model, images=images)
    if compiled:
        ours.epoch()  # compiles
    precision = ours.config.trainer.precision
    work = FLOPS_A_MAC * ours.macs * images / 1e9
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return Comparison(
        f"c. {model}, {precision}{', compiled' * compiled}, the training steps' arithmetic "
        f"({ours.macs / 1e6:.1f} M multiply-adds an image)",
        "GFLOP/s",
        {"training": lambda: work / ours.epoch().steps, "matrix product": lambda: matrix_product(dtype)},
        {"matrix product": target},
        notes=[note],
    )


def matrix_product(dtype: torch.dtype, seconds: float = 0.5) -> float:
    """GFLOP/s of the best of a few products of square matrices, each size repeated for so long."""
    rates = []
    for size in SIZES:
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        a @ b
        count, elapsed, began = 0, 0.0, time.perf_counter()
        while not count or elapsed < seconds:
            a @ b
            count += 1
            elapsed = time.perf_counter() - began
        rates.append(2 * size**3 * count / elapsed / 1e9)
    return max(rates)


def against_fp32_evaluation(settings: Settings) -> list[Comparison]:
    """f. The validation of each epoch, against the same network in fp32 and torch's own memory format."""
    raw, note = cifar(settings.data_root)
    images, val = 7 * settings.images, min(5000, settings.images)
    ours = Training(raw, "optim=sgd_onecycle", model="resnet20", images=images, val=val)
    if settings.run:
        trained = f"as {settings.run} left it"
        take(ours, Path(settings.run))
    else:
        trained = f"after an epoch of {images:,} images"
        ours.epoch()
    plain = copy.deepcopy(ours.model).to(memory_format=torch.contiguous_format)
    inputs = torch.cat([batch.contiguous() for batch, _, _ in ours.data.eval_loader("val")])
    predicted, expected = predictions(ours), bare.predict(plain, inputs.split(BATCH))
    labels = ours.data.eval_loader("val").labels
    agree, accuracy = ((predicted == other).double().mean() for other in (expected, labels))
    checked = f"{trained} (accuracy {accuracy:.1%}), top-1 agrees on {agree:.2%} (target 99.5 %)"

    def of_size(batch_size: int) -> Comparison:
        def validation() -> float:
            ours.data.eval_batch_size = batch_size
            return val / ours.validate().validation

        def fp32() -> float:
            began = time.perf_counter()
            bare.predict(plain, inputs.split(batch_size))
            return val / (time.perf_counter() - began)

        return Comparison(
            f"f. ResNet-20, the validation of {val:,} images in batches of {batch_size}",
            "images/s",
            {f"ours ({ours.config.trainer.precision})": validation, "fp32, NCHW": fp32},
            {"fp32, NCHW": 4.0},
            notes=[note, checked],
        )

    return [of_size(size) for size in EVAL_BATCHES]


def take(ours: Training, run: Path) -> None:
    """Give a training the network of a run, and the scaling of its images."""
    path = find_checkpoint(run)
    checkpoint = load_checkpoint(path)
    stored = checkpoint["config"]
    if (stored["model"]["name"], stored["data"]["name"]) != ("resnet20", "cifar10"):
        raise UserError(f"run={run}: {stored['model']['name']} on {stored['data']['name']}, not resnet20 on cifar10")
    ours.model.load_state_dict(network_weights(checkpoint))
    ours.data.normalization = checkpoint["normalization"]


def predictions(ours: Training) -> Tensor:
    """The classes int64 [N] that a validation predicts; it keeps only counts, so these are caught on their way."""
    caught = []

    def catching(logits: Tensor, labels: Tensor) -> Tensor:
        caught.append(logits.argmax(dim=1))
        return cells_of(logits, labels)

    with patch("src.tasks.classification.cells_of", catching):
        ours.validate()
    return torch.cat(caught)
