"""Time the training step of a network that is not trained yet."""

import time
from dataclasses import replace

import torch
from lightning import Callback, LightningModule, Trainer

from ..config.run import TrainConfig
from ..data.base import DataModule
from ..tasks.build import build_network, build_task
from ..training.trainer import build_trainer

CPU_STEP = 4e9  # multiply-adds of a step that is timed on a CPU; a larger batch takes longer in proportion


class Stopwatch(Callback):
    """Records the times at which an epoch begins and each of its steps ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.record()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self.record()

    def record(self) -> None:
        """Record the time at which a GPU has done all that it was told."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def measure_step_seconds(config: TrainConfig, data: DataModule, macs: int) -> float:
    """Return the time of an optimizer step, from three real ones, of which the first warms up [seconds].

    On a CPU the steps have fewer images where a whole batch would take long.
    """
    trainer = config.trainer
    part = config.data.batch_size // (trainer.world * trainer.accumulate)
    images = part if trainer.accelerator == "gpu" else min(part, max(2, int(CPU_STEP // macs)))
    alone = replace(trainer, devices=1, num_nodes=1, strategy="auto", accumulate=1, max_epochs=1, limit_train_batches=3)
    config = replace(
        config,
        protocol="last",
        monitor_test=False,
        trainer=alone,
        data=replace(config.data, val_fraction=0.0),
        optim=replace(config.optim, schedule="constant"),
    )
    before = data.batch_size, data.accumulate, data.monitored
    data.batch_size, data.accumulate, data.monitored = images, 1, ()
    stopwatch = Stopwatch()
    try:
        model = build_network(config, data.info, data.normalization)
        if trainer.channels_last:
            model.to(memory_format=torch.channels_last)
        runner = build_trainer(config)
        runner.callbacks.append(stopwatch)  # type: ignore[attr-defined]
        runner.fit(build_task(config, model, data.info), data)
    finally:
        data.batch_size, data.accumulate, data.monitored = before
    times = stopwatch.times[1:] if len(stopwatch.times) > 2 else stopwatch.times
    return (times[-1] - times[0]) / (len(times) - 1) * part / images * trainer.accumulate
