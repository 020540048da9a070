"""Build what a run needs (data, network and task), and check that they fit this machine."""

from dataclasses import dataclass
from typing import Any

import torch
from lightning import seed_everything
from torch import nn

from ..cli.console import clear_step, show_step
from ..config.run import TrainConfig
from ..data.base import DataModule
from ..data.build import build_data
from ..data.info import DatasetInfo, Normalization
from ..errors import UserError
from ..machine.memory import Estimate, check_memory, describe_estimate, estimate_step, measure_free_memory
from ..models.complexity import count_macs, count_parameters
from ..models.pretrained.files import compute_sha256, find_weights
from ..models.pretrained.reading import Pretrained, read_weights
from ..models.speednet import fit_to_data
from ..runs.results import Results
from ..tasks.base import Task
from ..tasks.build import build_network, build_task, load_initial_weights
from ..tasks.table import find_task_row
from ..zoo.registry import rows
from .checkpoints import Checkpoint
from .settle import Settled

THREADS = torch.get_num_threads()  # torch's own choice, which a job of a sweep gets back where it asks for nothing

SMALL = 64  # pixels of a side, at most


@dataclass(frozen=True)
class Assembly:
    """The data, network and task of a run.

    ``facts`` are the part of results.json that is known before training; ``notes`` are sentences for a person.
    """

    settled: Settled
    data: DataModule
    network: nn.Module
    task: Task
    facts: Results
    notes: list[str]

    @property
    def config(self) -> TrainConfig:
        return self.settled.config


def assemble(settled: Settled, *, checkpoint: Checkpoint | None = None, data: DataModule | None = None) -> Assembly:
    """Build the data, the network with its initial weights, and the task around it; nothing is written.

    With a ``checkpoint`` of ours, pixels are scaled as its weights expect, and the caller loads the weights. ``data``
    is used in place of building the data. Raises UserError for a wrong input.
    """
    config = settled.config
    torch.set_num_threads(config.trainer.threads or THREADS)
    seed_everything(config.seed, verbose=False)
    pretrained = None if checkpoint else read_initial_weights(config)
    normalization = checkpoint["normalization"] if checkpoint else getattr(pretrained, "normalization", None)
    show_step(f"reading {config.data.name}")
    data = data or load_data(config, normalization)
    show_step(f"building {config.model.name}")
    network = build_network(config, data.info, data.normalization)
    notes = [] if checkpoint else [*name_small_twin(config, data), *initialize(network, config, pretrained, data)]
    macs = count_network_macs(config, network, data)
    if config.trainer.channels_last:
        network.to(memory_format=torch.channels_last)
    task = build_task(config, network, data.info, data.label_counts.get("train", ()))
    data.monitored = task.monitored
    clear_step()
    sizes = {f"n_{split}": count for split, count in count_images(config, data).items()}
    notes = [*settled.notes, *notes]
    facts = {"params": count_parameters(network), "macs": macs, **sizes}
    return Assembly(settled, data, network, task, facts, notes)


def name_small_twin(config: TrainConfig, data: DataModule) -> list[str]:
    """Return a note where a network for photos gets small images, and there is the same one for those; else []."""
    name, twin = config.model.name, f"{config.model.name}_cifar"
    if twin not in rows() or max(data.sides) > SMALL or config.model.weights:
        return []
    return [f"{name} halves images five times, to a pixel or two of {max(data.sides)}; model={twin} is made for such."]


def count_images(config: TrainConfig, data: DataModule) -> dict[str, int]:
    """Return how many images of each split a run uses; of the training split, how many an epoch does."""
    trainer, evaluated = config.trainer, max(data.eval_batch_size, config.trainer.world)
    limits = {
        "train": (trainer.limit_train_batches, data.batch_size),
        "val": (trainer.limit_val_batches, evaluated),
        "test": (trainer.limit_test_batches, evaluated),
    }
    sizes = {split: data.sizes.get(split, 0) for split in limits}
    return {split: min(sizes[split], (limit or sizes[split]) * batch) for split, (limit, batch) in limits.items()}


def read_initial_weights(config: TrainConfig) -> Pretrained | None:
    """Return the initial weights, or None; raise UserError where their file has changed since the run was named."""
    if not config.model.weights:
        return None
    path = find_weights(config.model.weights, config.model.name)
    if compute_sha256(path) != config.model.weights_sha256:
        raise UserError(
            f"model.weights={path}: the file has changed since this run began; give back the old file, or start anew "
            "with fresh=true"
        )
    return read_weights(path)


def load_data(config: TrainConfig, normalization: Normalization | None) -> DataModule:
    """Load the data that the task learns from; ``normalization`` is the one stored with the weights.

    Raises UserError where a split has fewer images than there are processes.
    """
    data = build_data(
        config.data,
        target=config.task.target,
        seed=config.seed,
        accumulate=config.trainer.accumulate,
        devices=config.trainer.devices or 1,
        normalization=normalization,
    )
    if (few := min(data.sizes.values())) < config.trainer.world:
        raise UserError(
            f"a split of {few} images cannot be shared by {config.trainer.world} processes; lower trainer.devices"
        )
    return data


def initialize(network: nn.Module, config: TrainConfig, pretrained: Pretrained | None, data: DataModule) -> list[str]:
    """Give a network its first weights, from a file or from the data, and return notes for a person."""
    if pretrained is None:
        fit_to_data(network, (batch[0] for batch in data.train_loader()))
        return []
    path = find_weights(str(config.model.weights), config.model.name)
    note = load_initial_weights(config, network, pretrained, path=path, classes=data.info.classes)
    return [note, f"Pixels: data.normalize={config.data.normalize}; these weights expect {pretrained.normalize}."]


def prepare_network(config: TrainConfig, model: nn.Module) -> None:
    """Compile the network as configured, in place, so that the weights keep their names."""
    if config.trainer.graph == "reduce-overhead":
        model.compile(mode="reduce-overhead")
    elif config.trainer.compile:
        model.compile()


def count_network_macs(config: TrainConfig, model: nn.Module, data: DataModule) -> int:
    """Count the multiply-adds for an image; raise UserError where the images are too small for the network."""
    sizes = data.sides
    try:
        return [count_macs(find_counted_part(config, model), data.info.channels, size) for size in sizes][-1]
    except RuntimeError:
        name, native = config.model.name, config.model.native_size
        raise UserError(
            f"model={name}: images of {min(sizes)} pixels are too small for it; set data.image_size={native}, "
            + (f"or model={name}_cifar" if f"{name}_cifar" in rows() else "or take a network for small images")
            + " (python -m src.models '*_cifar')"
        ) from None


def find_counted_part(config: TrainConfig, model: nn.Module) -> nn.Module:
    """Return the part of a network whose multiply-adds and memory are counted."""
    return model.get_submodule(find_task_row(config.task.name).counted)


def describe_memory(config: TrainConfig, model: nn.Module, info: DatasetInfo) -> str:
    """Describe the memory that a step takes and that is free; raise UserError where it does not fit."""
    return describe_estimate(*estimate_memory(config, model, info)) + find_task_row(config.task.name).counted_in_words


def estimate_memory(
    config: TrainConfig, model: nn.Module, info: DatasetInfo, free: int | None = None
) -> tuple[Estimate, int]:
    """Estimate the memory of a step, and return it with the free memory of each device [bytes].

    `free` is the memory to share, by default what is free now. Raises UserError where the step does not fit.
    """
    trainer, devices = config.trainer, config.trainer.devices or 1
    batch = config.data.batch_size // trainer.world
    network = find_counted_part(config, model)
    settings: dict[str, Any] = {
        "images": (batch // trainer.accumulate, info.channels, info.image_size, info.image_size),
        "precision": trainer.precision,
        "optimizer_states": config.optim.states,
        "ema": config.optim.ema > 0,
        "accelerator": trainer.accelerator,
    }
    estimate = estimate_step(network, **settings)
    free = measure_free_memory(trainer.accelerator) if free is None else free
    free //= devices if trainer.accelerator == "cpu" else 1
    backbone: Any = model.get_submodule("backbone")
    helps = False
    if estimate.total > free and getattr(backbone, "checkpoint_activations", None) is False:
        backbone.checkpoint_activations = True
        helps = estimate_step(network, **settings).total <= free
        backbone.checkpoint_activations = False
    check_memory(
        estimate, free, batch_size=batch, accumulate=trainer.accumulate, checkpointed=not helps, can_checkpoint=helps
    )
    return estimate, free
