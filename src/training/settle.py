"""Settle a configuration: resolve each `auto`, name the content of its data, and find its run directory."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..cli.compose import apply_overrides, to_train_config
from ..cli.console import say
from ..cli.plugins import hash_plugins
from ..config.run import TrainConfig
from ..data.build import describe_data_changes, fingerprint
from ..data.photos.manifest import MANIFEST, read_manifest
from ..errors import UserError
from ..machine.ranks import RANK_ZERO_DECIDED
from ..runs.directory import Run
from ..runs.identity import build_default_path, collect_identity, compute_config_hash
from ..runs.stored import load_stored_config
from ..tasks.table import find_task_row
from .fitting import fit_to_data

RESUME_MAY_CHANGE = (
    "trainer.max_epochs",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.precision",
    "trainer.compile",
    "trainer.fold",
    "trainer.graph",
)


@dataclass(frozen=True)
class Settled:
    """A configuration without any `auto`, and a name of its data's content: all that a run's identity is made of."""

    config: TrainConfig
    content: str
    notes: tuple[str, ...] = ()  # sentences for a person on what was fitted to the data
    files: tuple[Path, ...] = ()  # to be copied into the run directory

    @property
    def hash(self) -> str:
        return compute_config_hash(self.config, self.content)


def settle(config: TrainConfig, *, continued: bool = False) -> Settled:
    """Return the configuration with each `auto` replaced by its meaning for this network and machine.

    A `continued` run has its weights in its checkpoint, so the file of its initial weights is not read. Raises
    UserError for devices that this machine lacks, and for weights and data that are missing.
    """
    if config.optim.find_lr:
        raise UserError("optim.lr=find: is for a single run of python -m src.train; in a sweep, name the values")
    config, notes = fit_to_data(config)
    config = settle_machine(config if continued else settle_weights(config))
    config = replace(config, plugins_sha256=hash_plugins(config.plugins))
    if config.data.label != config.data.name:  # kept, for the folder may be elsewhere when the run is opened again
        config = replace(config, data=replace(config.data, title=config.data.label))
    return Settled(config, fingerprint(config.data), notes)


def settle_weights(config: TrainConfig) -> TrainConfig:
    """Find and hash the initial weights, and scale pixels as they expect unless the user chose otherwise.

    Raises UserError where the weights are missing or have another hash than the user gave.
    """
    model, expected = config.model, "dataset"
    if model.weights is not None:
        from ..models.pretrained.files import compute_sha256, find_weights
        from ..models.pretrained.reading import read_weights

        path = find_weights(model.weights, model.name)
        found = compute_sha256(path)
        if model.weights_sha256 not in ("", found):
            raise UserError(
                f"model.weights={path}: its sha256 is {found}, not {model.weights_sha256} (model.weights_sha256)"
            )
        model, expected = replace(model, weights_sha256=found), read_weights(path).normalize
    data = replace(config.data, normalize=expected) if config.data.normalize == "auto" else config.data
    return replace(config, model=model, data=data)


def settle_machine(config: TrainConfig) -> TrainConfig:
    """Settle the warm-up, the devices, the precision and the CUDA graph."""
    from ..machine import hardware

    optim = config.optim
    if optim.warmup is None:
        optim = replace(optim, warmup=0.0 if optim.schedule == "plateau" else config.model.warmup)
    accelerator, devices, precision = hardware.resolve_hardware(config.trainer)
    trainer = replace(config.trainer, accelerator=accelerator, devices=devices, precision=precision)
    config = replace(config, optim=optim, trainer=trainer)
    if trainer.graph != "none" and (reason := explain_no_graph(config)):
        if RANK_ZERO_DECIDED not in os.environ:
            say(f"trainer.graph={trainer.graph} is left out: {reason}.")
        config = replace(config, trainer=replace(trainer, graph="none"))
    if trainer.num_nodes > 1:
        from ..data.base import check_parts

        check_parts(config.data.batch_size, trainer.world, trainer.accumulate)
    if config.finetune.name == "gradual" and trainer.strategy == "ddp":
        raise UserError(
            "finetune=gradual: the processes of trainer=ddp agree only once on what is trained; use one device, "
            "without trainer=ddp"
        )
    return config


def explain_no_graph(config: TrainConfig) -> str | None:
    """Return the reason why this settled configuration cannot have its `trainer.graph`, or None where it can."""
    trainer, optim, data = config.trainer, config.optim, config.data
    recomputes = getattr(config.model, "checkpoint_activations", False)
    reasons = {
        "a CPU has no CUDA graphs": trainer.accelerator == "cpu",
        "an Apple GPU has no CUDA graphs": trainer.accelerator == "mps",
        "the processes of trainer.strategy=ddp talk to each other in each step": trainer.strategy == "ddp",
        "trainer.detect_anomaly=true looks into each step": trainer.detect_anomaly,
        f"images of task={config.task.name} differ in size": not find_task_row(config.task.name).alike,
        "model.checkpoint_activations=true asks the generator for its state in each step": recomputes,
        "data.train_sizes changes the images' size": bool(getattr(data, "train_sizes", [])),
    }
    if trainer.graph == "full":
        reasons |= {
            f"trainer.accumulate={trainer.accumulate} makes a step of several": trainer.accumulate > 1,
            f"optim.ema={optim.ema} averages the weights after each step": optim.ema > 0,
            f"optim.clip_norm={optim.clip_norm} comes between gradients and update": optim.clip_norm > 0,
            "optim.schedule=plateau sets the learning rate itself": optim.schedule == "plateau",
            "finetune=gradual changes what learns": config.finetune.name == "gradual",
            "trainer.compile=true goes with trainer.graph=reduce-overhead": trainer.compile,
        }
    return next((reason for reason, holds in reasons.items() if holds), None)


def choose_directory(config: TrainConfig, directory: Path, subdir: str) -> tuple[TrainConfig, Path | None]:
    """Return the configuration, and the run directory where the user chose one.

    A sweep's directory without a subdirectory for each job becomes the output root.
    """
    if directory.resolve() == Path(config.output_root).resolve():
        return config, None
    if subdir == ".":
        return replace(config, output_root=str(directory)), None
    return config, directory


def find_run(config: TrainConfig, exact: Path | None, overrides: list[str]) -> tuple[Settled, Run]:
    """Settle a configuration, or that of the run that it resumes, and return it with its run directory."""
    if not config.resume:
        settled = settle(config)
    elif config.fresh:
        raise UserError("resume=… continues a run and fresh=true starts it over: choose one of them")
    else:
        exact = Path(config.resume)
        settled = settle(continue_run(exact, overrides), continued=True)
    run = open_run(settled, exact, adopt=bool(config.resume) or config.fresh)
    if not config.fresh:
        refuse_changed_data(settled, run)
    return settled, run


def refuse_changed_data(settled: Settled, run: Run) -> None:
    """Raise UserError where the data are no longer those that the run in this directory was trained on."""
    before = run.find_data_fingerprint()
    if before is None:
        return
    photos = read_manifest(run.path / MANIFEST)
    if told := describe_data_changes(settled.config.data, photos, before=before, now=settled.content):
        raise UserError(
            f"{run.path}: the data have changed since it was trained: {told}. Give back the old data; or train anew on "
            "what is there now, by the run's own command with fresh=true, or with another hydra.run.dir"
        )


def open_run(settled: Settled, exact: Path | None = None, *, adopt: bool = False) -> Run:
    """Return the run directory of a settled configuration: its own, or `exact`."""
    path = exact or build_default_path(settled.config, settled.hash)
    return Run(path, settled.hash, adopt=adopt, test=settled.config.test)


def continue_run(path: Path, overrides: list[str]) -> TrainConfig:
    """Return the configuration of the run in `path`, changed by the overrides typed beside `resume=<run directory>`.

    Raises UserError where an override would make it another experiment.
    """
    stored = to_train_config(load_stored_config(path))
    config = to_train_config(apply_overrides(load_stored_config(path), overrides))
    before, after = (collect_identity(c) | {"model.weights": c.model.weights} for c in (stored, config))
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if refused := [name for name in differing if name not in RESUME_MAY_CHANGE]:
        raise UserError(
            f"resume={path}: {', '.join(refused)} would make it another run; "
            f"only {', '.join(RESUME_MAY_CHANGE)} may change"
        )
    return config
