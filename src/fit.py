"""One run from its data to its results.json; imported late, because Lightning takes seconds to import."""

import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor, nn

from src import ranks
from src.callbacks import Interrupted, InterruptedAtOnce, RunKeeper, load_checkpoint
from src.cli import say, sentence
from src.config import DETECTION, TrainConfig
from src.data import build_data
from src.data.info import DatasetInfo
from src.errors import UserError
from src.hardware import environment, out_of_memory, peak_memory_bytes
from src.memory import Estimate, check, free_bytes, in_words, step_bytes
from src.models.complexity import count_macs, count_parameters
from src.models.detection_weights import load as load_detector
from src.models.speednet import fit_to_data
from src.models.weights import check_network, load, locate, read, sha256_of
from src.results import read_metrics, summary
from src.runs import Run, command_line, config_hash, plain, same_command, write_json
from src.tasks import build_network, build_task
from src.tasks.base import Task
from src.trainer import build_loggers, build_trainer

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
    weights = locate(config.model.weights, config.model.name) if config.model.weights and not resume else None
    if weights and sha256_of(weights) != config.model.weights_sha256:
        raise UserError(f"model.weights={weights}: its content has changed since this run was named by it")
    pretrained = read(weights) if weights else None
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
        take = load_detector if config.task.name in DETECTION else load
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


def farewell(config: TrainConfig, run: Run, *, at_once: bool) -> str:
    """What a person reads after Ctrl-C; `at_once` where it was pressed again, so that nothing was saved any more."""
    same = same_command(fresh=config.fresh).capitalize()
    if not at_once:
        return f"\nStopped; all is saved in {run.path}. {same} continues."
    if not run.last.exists():
        return f"\nStopped at once, before anything was saved in {run.path}. {same} begins again."
    return f"\nStopped at once; {run.path} holds what was saved before. {same} continues from there."


def arrange(config: TrainConfig, model: nn.Module) -> None:
    """The memory format and the compilation that are asked for, in place: the names of the weights stay."""
    if config.trainer.channels_last:
        model.to(memory_format=torch.channels_last)
    if config.trainer.graph == "reduce-overhead":
        model.compile(mode="reduce-overhead")
    elif config.trainer.compile:
        model.compile()


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


def count(config: TrainConfig, model: nn.Module, info: DatasetInfo) -> int:
    """The multiply-adds for an image; UserError where images of this size leave the network nothing to see."""
    sizes = [*config.data.train_sizes, info.image_size]
    try:
        return [count_macs(counted(config, model), info.channels, size) for size in sizes][-1]
    except RuntimeError:
        name, native = config.model.name, config.model.native_size
        raise UserError(
            f"model={name}: images of {min(sizes)} pixels are too small for it; set data.image_size={native}, "
            "or take a network for small images (python -m src.models '*_cifar')"
        ) from None


def counted(config: TrainConfig, model: nn.Module) -> nn.Module:
    """What the multiply-adds and the memory are counted of: of a detector the backbone and its pyramid."""
    return model.get_submodule("backbone") if config.task.name in DETECTION else model


def memory_needed(config: TrainConfig, model: nn.Module, info: DatasetInfo) -> str:
    """What a step will take and what is free, in words; UserError where it does not fit."""
    return in_words(*fitting(config, model, info))


def fitting(config: TrainConfig, model: nn.Module, info: DatasetInfo, free: int | None = None) -> tuple[Estimate, int]:
    """What a step will take, and what of `free` (by default, what is free now) each device has [bytes].

    Raises UserError where it does not fit.
    """
    trainer, devices = config.trainer, config.trainer.devices or 1
    batch = config.data.batch_size // trainer.world
    network = counted(config, model)
    settings: dict[str, Any] = {
        "images": (batch // trainer.accumulate, info.channels, info.image_size, info.image_size),
        "precision": trainer.precision,
        "optimizer": config.optim.name,
        "ema": config.optim.ema > 0,
        "accelerator": trainer.accelerator,
    }
    estimate = step_bytes(network, **settings)
    free = free_bytes(trainer.accelerator) if free is None else free
    free //= devices if trainer.accelerator == "cpu" else 1
    backbone: Any = model.get_submodule("backbone")
    helps = False
    if estimate.total > free and getattr(backbone, "checkpoint_activations", None) is False:
        backbone.checkpoint_activations = True
        helps = step_bytes(network, **settings).total <= free
        backbone.checkpoint_activations = False
    check(estimate, free, batch_size=batch, accumulate=trainer.accumulate, checkpointed=not helps, can_checkpoint=helps)
    return estimate, free


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


def readable_name(config: TrainConfig, *, seed: bool = True) -> str:
    """What a run is called among its like: network, data set, the part of it where that is limited, seed."""
    limit = config.data.limit_train
    part = [f"train{limit:g}"] if limit is not None else []
    return "-".join([config.model.name, config.data.name, *part, *([f"seed{config.seed}"] if seed else [])])


def tags(config: TrainConfig) -> list[str]:
    """By what runs are found again: what the user says, then experiment, network, data set and task."""
    named = (config.experiment_name, config.model.name, config.data.name, config.task.name)
    return list(dict.fromkeys(filter(None, (*config.logger.tags, *named))))


def opening(
    config: TrainConfig, run: Run, facts: dict[str, Any], model: nn.Module, notes: list[str], *, resumed: bool
) -> str:
    """What a person reads when training begins; `notes` are on the initial weights."""
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if learned < facts["params"]:
        notes = [*notes, f"{learned:,} of {facts['params']:,} parameters learn."]
    trainer = config.trainer
    nodes = f"{trainer.num_nodes} × " if trainer.num_nodes > 1 else ""
    compiled = ", compiled" if trainer.compile else ""
    compiled += f", CUDA graph: {trainer.graph}" if trainer.graph != "none" else ""
    return (
        f"{'Resuming' if resumed else 'Training'} {config.model.name} ({facts['params']:,} parameters, "
        f"{facts['macs'] / 1e6:,.2f} M multiply-adds) on {config.data.name} ({facts['n_train']:,} images), "
        f"{trainer.max_epochs} epochs, seed {config.seed}; {nodes}{trainer.devices} × {trainer.accelerator}, "
        f"{trainer.precision}{compiled}\n" + "\n".join([*notes, str(run.path)])
    )


def network_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The network's state from a checkpoint of ours: the averaged weights where there are any."""
    state = checkpoint["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


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


def close_wandb() -> None:
    """End a run at W&B that failed, so that the next job of a sweep begins one of its own."""
    import wandb

    wandb.finish(exit_code=1)


def tell_loggers(trainer: Trainer, results: dict[str, Any], task: Task, info: DatasetInfo) -> None:
    """Give each logger the summary: the final metrics and, to W&B, what else the task shows."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(
                results["metrics"]
                | errors(results)
                | {name: results[name] for name in ("params", "macs")}
                | {f"time/{name}": value for name, value in results["time"].items()}
            )
            if results["status"] == "finished" and (media := task.wandb_media(info)):
                logger.experiment.log(media)
            logger.experiment.finish()
        elif isinstance(logger, TensorBoardLogger):
            test = {key: value for key, value in results["metrics"].items() if key.startswith("test/")}
            logger.log_metrics(test, step=results["steps"])
            logger.finalize("success")


def errors(results: dict[str, Any]) -> dict[str, float]:
    """1 - accuracy, which the literature prints; only where an image has one class."""
    if results["task"] != "multiclass":
        return {}
    names = {"accuracy": "error", "top5": "top5_error"}
    parted = [(*key.rpartition("/"), value) for key, value in results["metrics"].items()]
    return {f"{split}/{names[name]}": 1 - value for split, _, name, value in parted if name in names}
