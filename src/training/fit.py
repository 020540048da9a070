"""One run from its data to its results.json; imported late, because Lightning takes seconds to import."""

import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.loggers import WandbLogger
from torch import nn

from ..cli.console import say
from ..cli.messages import sentence
from ..config.run import TrainConfig
from ..config.task import DETECTION
from ..data.build import build_data
from ..data.info import DatasetInfo
from ..errors import UserError
from ..files import write_json
from ..machine import ranks
from ..machine.hardware import environment, out_of_memory, peak_memory_bytes
from ..models.complexity import count_parameters
from ..models.pretrained.detection import load_detector
from ..models.pretrained.files import compute_sha256, find_weights
from ..models.pretrained.reading import read_weights
from ..models.pretrained.weights import check_network, load_weights
from ..models.speednet import fit_to_data
from ..runs.directory import Run
from ..runs.identity import config_hash, plain
from ..runs.results import read_metrics
from ..runs.stored import command_line
from ..tasks.base import Task
from ..tasks.build import build_network, build_task
from .assemble import arrange, count, memory_needed
from .checkpoints import load_checkpoint, network_weights
from .keeper import Interrupted, InterruptedAtOnce, RunKeeper
from .loggers import build_loggers, close_wandb, readable_name, tags, tell_loggers
from .messages import farewell, opening, summary
from .trainer import build_trainer

THREADS = torch.get_num_threads()  # torch's own choice, for the jobs of a sweep that make none


def fit(config: TrainConfig, run: Run, content: str) -> dict[str, Any]:
    """Train (or resume), test once (not with test=false), and write what a finished run leaves: results.json, returned.

    Raises UserError for a wrong input, before anything is written, and KeyboardInterrupt after Ctrl-C, once all is
    saved.
    """
    torch.set_num_threads(config.trainer.threads or THREADS)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    seed_everything(config.seed, verbose=False)
    resume = None if config.fresh else run.checkpoint_to_resume(config.resume_anyway)
    weights = find_weights(config.model.weights, config.model.name) if config.model.weights and not resume else None
    if weights and compute_sha256(weights) != config.model.weights_sha256:
        raise UserError(f"model.weights={weights}: its content has changed since this run was named by it")
    pretrained = read_weights(weights) if weights else None
    data = build_data(
        config.data,
        task=config.task.name,
        seed=config.seed,
        accumulate=config.trainer.accumulate,
        devices=config.trainer.devices or 1,
        normalization=load_checkpoint(resume)["normalization"]
        if resume
        else getattr(pretrained, "normalization", None),
    )
    if (few := min(data.sizes.values())) < config.trainer.world:
        raise UserError(f"a split of {few} images cannot be shared by {config.trainer.world} processes; use fewer")
    model = build_network(config, data.info, data.normalization)
    notes = []
    if weights and pretrained:
        take = load_detector if config.task.name in DETECTION else load_weights
        notes = [take(model, pretrained, path=weights, classes=data.info.classes)]
        check_network(pretrained, config.model, weights)
        notes.append(f"Pixels: data.normalize={config.data.normalize}; these weights expect {pretrained.normalize}.")
    elif not resume:
        fit_to_data(model, (batch[0] for batch in data.train_loader()))
    macs = count(config, model, data.info)
    task = build_task(config, model, data.info)
    counted_alone = " (of a detector, the backbone and its pyramid alone)" if config.task.name in DETECTION else ""
    notes.append(f"Memory: {memory_needed(config, model, data.info)}{counted_alone}")
    if config.fresh:
        run.clear()  # only now, when the data, the network and their size are known to be right
    facts = describe(config, run, content, model, data.sizes) | {"macs": macs}
    data.monitored = task.monitored
    arrange(config, model)
    if resume and config.trainer.max_epochs < (done := len(read_metrics(run.path / "metrics.csv"))):
        raise UserError(f"trainer.max_epochs={config.trainer.max_epochs}: {run.path} has {done} epochs behind it")
    trainer = prepare(config, run, facts, data.info, data.normalization)
    if trainer.is_global_zero:
        run.start(config, command_line())
        say(opening(config, run, facts, model, notes, resumed=resume is not None))
    ranks.tell("train")
    try:
        trainer.fit(task, data, ckpt_path=resume, weights_only=True)
        tested = load_checkpoint(run.best if config.protocol == "best_val" else run.last)
        model.load_state_dict(network_weights(tested))
        task.adopt(tested)
        if config.test:
            trainer.test(task, data, verbose=False)
    except (Interrupted, SystemExit) as stop:  # Lightning turns a Ctrl-C in the final test into SystemExit
        if not trainer.is_global_zero:
            sys.exit(0)  # any other code would make Lightning kill rank 0
        raise KeyboardInterrupt(farewell(config, run, at_once=isinstance(stop, InterruptedAtOnce))) from None
    except Exception as error:
        reason = out_of_memory(error) or sentence(error)
        if any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            close_wandb()
        if trainer.is_global_zero:
            write_json(run.path / "results.json", facts | {"status": "failed", "reason": reason})
        raise UserError(reason) from error
    results = finished(config, run, facts, task, trainer)
    if trainer.is_global_zero:
        if config.test:
            expected = None if config.trainer.limit_test_batches else data.sizes["test"]
            if expected not in (None, task.seen):
                raise RuntimeError(f"{task.seen} of {expected} test samples were seen")
            results["n_test"] = task.seen  # fewer where trainer.limit_test_batches asks for a quick look
            task.write_test_files(run.path, data.info)
        tell_loggers(trainer, results, task, data.info)
        write_json(run.path / "results.json", results)  # last: it is what makes the run finished
        say(f"{summary(results)}\n{run.path}")
    return results


def describe(config: TrainConfig, run: Run, content: str, model: nn.Module, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The part of results.json that is known before training."""
    return {
        "run": str(run.path),
        "command": run.command(command_line()),
        "config_hash": run.config_hash,
        "code_hash": run.code_hash,
        "model": config.model.name,
        "data": config.data.name,
        "data_fingerprint": content,
        **{f"n_{split}": sizes.get(split, 0) for split in ("train", "val", "test")},
        "task": config.task.name,
        "seed": config.seed,
        "params": count_parameters(model),
        "ema": config.optim.ema,
        "protocol": config.protocol,
        "monitor_test": config.monitor_test,
        "environment": environment(config.trainer.accelerator, config.trainer.precision),
    }


def prepare(
    config: TrainConfig, run: Run, facts: dict[str, Any], info: DatasetInfo, normalization: dict[str, Any]
) -> Trainer:
    """The Trainer with the keeper of the run directory and the loggers."""
    stored = plain(config)
    carried = {
        "config": stored,
        "info": asdict(info),
        "normalization": normalization,
        "config_hash": run.config_hash,
        "code_hash": run.code_hash,
    }
    keeper = RunKeeper(
        run=run,
        minutes=config.trainer.checkpoint_minutes,
        batch_size=config.data.batch_size,
        draw=config.trainer.progress,
        carried=carried,
    )
    logged = stored | {name: facts[name] for name in ("params", "macs", "n_train", "config_hash")}
    pool = config_hash(replace(config, seed=0), facts["data_fingerprint"])[:6]  # of runs that differ only in their seed
    logged["pool"] = f"{readable_name(config, seed=False)}-{pool}"
    loggers = build_loggers(
        config.logger,
        path=run.path,
        name=readable_name(config),
        group=config.logger.group or config.experiment_name or None,
        tags=tags(config),
        run_id=run.wandb_id(),
        facts=logged,
    )
    return build_trainer(config, keeper=keeper, loggers=loggers)


def finished(config: TrainConfig, run: Run, facts: dict[str, Any], task: Task, trainer: Trainer) -> dict[str, Any]:
    """The content of results.json of a run that has come to its end."""
    rows = read_metrics(run.path / "metrics.csv")
    headline = f"val/{task.headline}"
    chosen = max(rows, key=lambda row: row[headline]) if config.protocol == "best_val" else rows[-1]
    metrics = {key: value for key, value in chosen.items() if key.startswith(("train/", "val/"))}
    keeper = next(c for c in trainer.callbacks if isinstance(c, RunKeeper))  # type: ignore[attr-defined]
    wandb = any(isinstance(logger, WandbLogger) for logger in trainer.loggers)
    return facts | {
        **({"status": "finished"} if config.test else {"status": "untested", "reason": "test=false"}),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "metrics": (task.epoch_metrics if config.test else {}) | metrics,
        "time": {
            "fit_seconds": keeper.fit_seconds,
            "epoch_seconds": statistics.median(row["seconds"] for row in rows),
            "images_per_second": statistics.median(row["images_per_second"] for row in rows),
        },
        "peak_memory_bytes": peak_memory_bytes(config.trainer.accelerator),
        "wandb_id": run.wandb_id() if wandb else None,
    }
