"""Settle a configuration: what `auto` means here, and which run directory it names."""

import os
from pathlib import Path

from ..cli.compose import changed, typed
from ..cli.console import say
from ..config.run import TrainConfig
from ..config.task import DETECTION
from ..errors import UserError
from ..machine.ranks import RANK_ZERO_DECIDED
from ..runs.directory import Run
from ..runs.identity import config_hash, default_path, identity
from ..runs.stored import load_config


def why_not(config: TrainConfig) -> str | None:
    """Why `trainer.graph` cannot be had with this settled configuration, for a person; None where it can."""
    trainer, optim, data = config.trainer, config.optim, config.data
    recomputes = getattr(config.model, "checkpoint_activations", False)
    reasons = {
        "a CPU has no CUDA graphs": trainer.accelerator == "cpu",
        "the processes of trainer.strategy=ddp talk to each other in each step": trainer.strategy == "ddp",
        "trainer.detect_anomaly=true looks into each step": trainer.detect_anomaly,
        f"images of task={config.task.name} differ in size": config.task.name in DETECTION,
        "model.checkpoint_activations=true asks the generator for its state in each step": recomputes,
        "data.train_sizes changes the images' size": data.train_sizes != [],
    }
    if trainer.graph == "full":
        reasons |= {
            f"trainer.accumulate={trainer.accumulate} makes a step of several": trainer.accumulate > 1,
            f"optim.ema={optim.ema} averages the weights after each step": optim.ema > 0,
            f"optim.clip_norm={optim.clip_norm} comes between gradients and update": optim.clip_norm > 0,
            "optim.schedule=plateau sets the rate itself": optim.schedule == "plateau",
            "finetune=gradual changes what learns": config.finetune.name == "gradual",
            "trainer.compile=true goes with trainer.graph=reduce-overhead": trainer.compile,
        }
    return next((reason for reason, holds in reasons.items() if holds), None)


RESUME_MAY_CHANGE = (
    "trainer.max_epochs",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.precision",
    "trainer.compile",
    "trainer.fold",
    "trainer.graph",
)


def placed(config: TrainConfig, directory: Path, subdir: str) -> Path | None:
    """The run directory where the user chose one; a sweep's directory without one for each job is an output root."""
    if directory.resolve() == Path(config.output_root).resolve():
        return None
    if subdir == ".":
        config.output_root = str(directory)
        return None
    return directory


def located(config: TrainConfig, exact: Path | None, overrides: list[str]) -> tuple[TrainConfig, Run, str]:
    """A run's settled configuration, its directory, and what names the content of its data."""
    if config.resume:
        if config.fresh:
            raise UserError("resume= continues and fresh=true starts over: choose one of them")
        exact = Path(config.resume)
        config = continued(exact, overrides)
    else:
        settle_weights(config)
    settle(config)
    from ..data.build import fingerprint

    content = fingerprint(config.data)
    name = config_hash(config, content)
    adopt = bool(config.resume) or config.fresh
    return config, Run(exact or default_path(config, name), name, adopt=adopt, test=config.test), content


def settle(config: TrainConfig) -> None:
    """Replace each "auto" by what it means for this network and this machine, so that the run's identity says it."""
    from ..machine import hardware

    if config.optim.warmup is None:
        config.optim.warmup = 0.0 if config.optim.schedule == "plateau" else config.model.warmup
    trainer = config.trainer
    trainer.accelerator, trainer.devices, trainer.precision = hardware.resolve(trainer)
    if trainer.graph != "none" and (reason := why_not(config)):
        if RANK_ZERO_DECIDED not in os.environ:
            say(f"trainer.graph={trainer.graph} is left out: {reason}.")
        trainer.graph = "none"
    if trainer.num_nodes > 1:
        from ..data.base import check_parts

        check_parts(config.data.batch_size, trainer.world, trainer.accumulate)
    if config.finetune.name == "gradual" and trainer.strategy == "ddp":
        raise UserError(
            "finetune=gradual: the processes of trainer=ddp agree once on what learns; use one device, without it."
        )


def settle_weights(config: TrainConfig) -> None:
    """Find and hash the initial weights, and scale pixels as they expect unless the user chose; UserError without them.

    A run that is continued has them in its checkpoint.
    """
    if config.model.weights is None:
        expected = "dataset"
    else:
        from ..models.pretrained.files import compute_sha256, find_weights
        from ..models.pretrained.reading import read_weights

        path = find_weights(config.model.weights, config.model.name)
        found = compute_sha256(path)
        if config.model.weights_sha256 not in ("", found):
            raise UserError(f"model.weights={path}: its sha256 is {found}, not {config.model.weights_sha256}")
        config.model.weights_sha256 = found
        expected = read_weights(path).normalize
    if config.data.normalize == "auto":
        config.data.normalize = expected


def continued(path: Path, overrides: list[str]) -> TrainConfig:
    """The configuration of a run that `resume=<run directory>` continues, with what was typed beside it.

    Raises UserError where something is changed that would make it another experiment.
    """
    stored = typed(load_config(path))
    config = typed(changed(load_config(path), overrides))
    before, after = (identity(c) | {"model.weights": c.model.weights} for c in (stored, config))
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if refused := [name for name in differing if name not in RESUME_MAY_CHANGE]:
        raise UserError(
            f"resume={path}: {', '.join(refused)} would make it another run; "
            f"only {', '.join(RESUME_MAY_CHANGE)} may change"
        )
    return config
