"""What a network costs before it is trained: parameters, memory of a step, seconds of a step."""

import os
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

from ..config.run import TrainConfig
from ..errors import UserError
from ..machine.ranks import NODE_GPUS
from ..tasks.build import build_network, build_task

ELSEWHERE = NODE_GPUS in os.environ  # the jobs will run on other machines than this one


CPU_STEP = 4e9  # multiply-adds of a step that is measured on a CPU; a larger batch takes longer in proportion


EVALUATION = 1 / 3  # of the time that training on an image takes, evaluating it takes


@dataclass
class Cost:
    """What the runs of a network have in common."""

    network: str
    parameters: int
    images: int  # a training epoch has
    evaluated: int  # after each epoch
    note: str = ""  # where its parameters are not what the study printed
    step_bytes: int = 0
    problem: str = ""
    step_seconds: float = 0.0

    def seconds(self, config: TrainConfig) -> float:
        """A whole run's."""
        steps = config.trainer.limit_train_batches or self.images // config.data.batch_size
        return (
            config.trainer.max_epochs
            * self.step_seconds
            * (steps + EVALUATION * self.evaluated / config.data.batch_size)
        )


def alike(config: TrainConfig) -> str:
    """What runs on the same data, in the same batches and on the same devices, share."""
    trainer = replace(config.trainer, max_epochs=1, checkpoint_minutes=0, progress=False)
    return repr((replace(config.data, split_seed=0), config.task, trainer))


def load(config: TrainConfig) -> Any:
    """Load the data as a run has them."""
    from ..training.assemble import load_data, read_initial_weights

    weights = read_initial_weights(config)
    return load_data(config, weights.normalization if weights else None)


def cost(config: TrainConfig, data: Any, sharing: int, *, measured: bool) -> Cost:
    """The size of a network, the memory of a step, and its time where that is to be measured."""
    import torch

    from ..machine.memory import free_bytes
    from ..models.complexity import count_parameters
    from ..training.assemble import count, estimate_memory

    with torch.device("meta"):
        model = build_network(config, data.info, data.normalization)
    macs = count(config, model, data)
    evaluated = data.sizes.get("val", 0) + config.monitor_test * data.sizes["test"]
    result = Cost(config.model.name, count_parameters(model), data.sizes["train"], evaluated)
    result.note = unlike_study(result.parameters, config)
    free = sys.maxsize if ELSEWHERE else free_bytes(config.trainer.accelerator) // sharing
    if config.preflight_memory is not None:
        free = int(1e9 * config.preflight_memory)
    try:
        result.step_bytes = estimate_memory(config, model, data.info, free)[0].total
        if measured:
            result.step_seconds = step_seconds(config, data, macs)
    except UserError as error:
        result.problem = str(error)
    return result


def unlike_study(parameters: int, config: TrainConfig) -> str:
    """What the experiment's study printed instead of so many parameters; "" where it is the same, but for rounding."""
    from ..report.published import find_printed_number
    from ..runs.identity import plain

    facts = {"model": config.model.name, "data": config.data.name, "task": config.task.name}
    value, column = find_printed_number(config.experiment_name, "params", facts, plain(config)) or (None, None)
    if value is None or column is None or round(column.scale * parameters, column.digits) == value:
        return ""
    return f"{config.model.name} has {parameters:,} parameters; its study printed {value:,g} ({column.title})."


def step_seconds(config: TrainConfig, data: Any, macs: int) -> float:
    """The time of an optimizer step, from three real ones, of which the first warms up [seconds].

    On a CPU they are of fewer images where a whole batch would take long.
    """
    import torch
    from lightning import Callback

    from ..training.trainer import build_trainer

    class Stopwatch(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

        def on_train_batch_end(self, *_: Any) -> None:
            self.on_train_epoch_start()

    ends: list[float] = []
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
    try:
        model = build_network(config, data.info, data.normalization)
        if trainer.channels_last:
            model.to(memory_format=torch.channels_last)
        runner = build_trainer(config)
        runner.callbacks.append(Stopwatch())  # type: ignore[attr-defined]
        runner.fit(build_task(config, model, data.info), data)
    finally:
        data.batch_size, data.accumulate, data.monitored = before
    ends = ends[1:] if len(ends) > 2 else ends
    return (ends[-1] - ends[0]) / (len(ends) - 1) * part / images * trainer.accumulate
