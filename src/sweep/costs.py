"""Estimate what a network costs before it is trained: its parameters, the memory and the time of a step."""

import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from ..config.run import TrainConfig
from ..errors import UserError
from ..machine.ranks import NODE_GPUS
from ..tasks.build import build_network

if TYPE_CHECKING:
    from ..data.base import DataModule
    from ..data.photos.manifest import Photo

ELSEWHERE = NODE_GPUS in os.environ  # the jobs will run on other machines than this one


EVALUATION = 1 / 3  # of the time that training on an image takes, evaluating it takes


@dataclass
class Cost:
    """What the runs of a network have in common."""

    network: str
    parameters: int
    images: int  # of a training epoch
    evaluated: int  # images after each epoch
    note: str = ""  # where its parameters are not what the study printed
    step_bytes: int = 0
    problem: str = ""
    step_seconds: float = 0.0

    def seconds(self, config: TrainConfig) -> float:
        """Return the time of a whole run."""
        steps = self.images // config.data.batch_size
        return (
            config.trainer.max_epochs
            * self.step_seconds
            * (steps + EVALUATION * self.evaluated / config.data.batch_size)
        )


def make_data_key(config: TrainConfig) -> str:
    """Return a key that runs share on the same data, in the same batches and on the same devices."""
    trainer = replace(config.trainer, max_epochs=1, checkpoint_minutes=0, progress=False)
    return repr((replace(config.data, split_seed=0), config.task, trainer))


Looked: TypeAlias = "dict[str, list[Photo]]"  # the photos that were looked at, by where they are and how they are read


def load_run_data(config: TrainConfig, looked: "Looked | None" = None) -> "DataModule":
    """Load the data as a run would see them, and look at those of its photos that were not looked at before."""
    from ..data.build import find_photo_folders
    from ..training.assemble import load_data, read_initial_weights
    from ..training.readiness import record_photos

    weights = read_initial_weights(config)
    data = load_data(config, weights.normalization if weights else None)
    choices = ("train_json", "val_json", "test_json", "channels")  # COCO's files say how large the photos are
    key = repr([find_photo_folders(config.data), *(getattr(config.data, name, None) for name in choices)])
    looked = {} if looked is None else looked
    looked[key] = record_photos(config, data, looked.get(key, []))
    return data


def estimate_cost(config: TrainConfig, data: "DataModule", sharing: int, *, measured: bool) -> Cost:
    """Return a network's size, the memory of a step, and its time where it is to be `measured`.

    `sharing` jobs share one device's memory.
    """
    import torch

    from ..machine.memory import measure_free_memory
    from ..models.complexity import count_parameters
    from ..training.assemble import count_images, count_network_macs, estimate_memory
    from ..training.readiness import check_batch_statistics

    with torch.device("meta"):
        model = build_network(config, data.info, data.normalization)
    macs = count_network_macs(config, model, data)
    check_batch_statistics(config, model, data)
    images = count_images(config, data)
    evaluated = images["val"] + config.monitor_test * images["test"]
    result = Cost(config.model.name, count_parameters(model), images["train"], evaluated)
    result.note = compare_with_study(result.parameters, config)
    free = sys.maxsize if ELSEWHERE else measure_free_memory(config.trainer.accelerator) // sharing
    if config.preflight_memory is not None:
        free = int(1e9 * config.preflight_memory)
    try:
        result.step_bytes = estimate_memory(config, model, data.info, free)[0].total
        if measured:
            from .step_timing import measure_step_seconds

            result.step_seconds = measure_step_seconds(config, data, macs)
    except UserError as error:
        result.problem = str(error)
    return result


def count_decimals(value: float) -> int:
    """Return how many decimals a number is printed with: 2 for 0.27, 1 for 1.7."""
    return len(str(value).partition(".")[2])


def compare_with_study(parameters: int, config: TrainConfig) -> str:
    """Say which number of parameters the experiment's study printed; "" where it is this one, but for rounding."""
    from ..report.published import find_printed_number
    from ..runs.identity import to_plain

    facts = {"model": config.model.name, "data": config.data.name, "task": config.task.name}
    value, column = find_printed_number(config.experiment_name, "params", facts, to_plain(config)) or (None, None)
    if value is None or column is None or round(column.scale * parameters, count_decimals(value)) == value:
        return ""
    return f"{config.model.name} has {parameters:,} parameters; its study printed {value:,g} ({column.title})."
