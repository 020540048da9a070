"""What is wrong with runs before the first of them starts, all of it at once, and with preflight=only what they cost.

Looked at are the data, the batch, the network, the memory that a step takes, the disk that checkpoints take, and
whether two jobs are one run. Names, types and stray keys were looked at when the jobs were composed.
A launcher has this done in another process, so torch and Lightning are imported late: it needs neither.
"""

import os
import shutil
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

from src.config import TrainConfig
from src.data import build_data
from src.errors import UserError
from src.jobs import NODE_GPUS, Job, held
from src.results import duration, table
from src.tasks import build_network, build_task

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


@dataclass
class Survey:
    """The jobs, each with its run and what is wrong with it, and the machine that they share."""

    jobs: list[Job]
    only: bool  # nothing is to be trained
    places: list[str] = field(default_factory=list)  # a GPU's id each, or "" for a share of the CPU
    threads: int = 1  # a place
    fatal: str = ""  # what is wrong with all of them together
    costs: dict[int, Cost] = field(default_factory=dict)  # by the job's number


def survey(jobs: list[Job], slots: int | None) -> Survey:
    """Look at all jobs; what is wrong with one makes it a failed one, before it has started."""
    import torch

    from src.cli import sentence

    good = [job for job in jobs if job.state == "waiting"]
    for job in good:
        try:
            locate(job)
        except Exception as error:
            job.end("failed", sentence(error, job.words))
    good = [job for job in good if job.state == "waiting"]
    first: dict[Path, Job] = {}
    for job in good:
        same = first.setdefault(job.path.resolve(), job)
        if same is not job:
            job.end("failed", f"the same run as job {same.number}: what differs is no part of a run's identity")
    only = any(job.config is not None and job.config.preflight == "only" for job in jobs)
    found = Survey(jobs, only)
    ids = gpus() if any(job.on_gpu for job in good) and not ELSEWHERE else [""]
    found.places = [ids[i % len(ids)] for i in range(slots or len(ids))]
    found.threads = max(1, torch.get_num_threads() // len(found.places))
    if only:
        torch.set_num_threads(found.threads)
    known: dict[str, Cost] = {}
    data: dict[str, Any] = {}
    for job in good:
        if job.state == "waiting" and not held(job.log):
            try:
                found.costs[job.number] = examine(job, found, known, data, -(-len(found.places) // len(ids)))
            except Exception as error:
                job.end("failed", sentence(error, job.words))
    found.fatal = disk(found)
    return found


def locate(job: Job) -> None:
    """Find a job's run directory and devices; a finished run is done. UserError where a half-done one cannot go on."""
    from src.train import located

    config, job.run, _ = located(job.config, job.exact, job.words)
    job.config, job.devices = config, config.trainer.devices or 1
    job.on_gpu = config.trainer.accelerator == "gpu"
    results = None if config.fresh else job.run.results()
    if results:
        job.results = results
        stale = "" if results.get("code_hash") == job.run.code_hash else "; the code has changed since"
        job.end("done", f"Finished before{stale}")
    elif not config.fresh:
        job.run.checkpoint_to_resume(config.resume_anyway)


def examine(job: Job, found: Survey, known: dict[str, Cost], data: dict[str, Any], sharing: int) -> Cost:
    """What a job's network costs; UserError where it cannot run. `sharing` jobs have one device's memory."""
    config = job.config
    if job.on_gpu and not ELSEWHERE and job.devices > (here := len(set(found.places))):
        raise UserError(f"trainer.devices={job.devices}: the launcher's slots are on {here} GPU(s).")
    data_key, ema = alike(config), config.optim.ema > 0
    key = repr((data_key, config.experiment_name, config.model, config.optim.name, ema, config.finetune))
    if key not in known:
        if data_key not in data:
            data.clear()  # one set at a time lies in memory
            try:
                data[data_key] = load(config)
            except UserError as error:  # a failed download is not tried again for each job
                data[data_key] = error
        if isinstance(data[data_key], UserError):
            raise data[data_key]
        known[key] = cost(config, data[data_key], sharing, measured=found.only)
    if known[key].problem:
        raise UserError(known[key].problem)
    return known[key]


def alike(config: TrainConfig) -> str:
    """What runs on the same data, in the same batches and on the same devices, share."""
    trainer = replace(config.trainer, max_epochs=1, checkpoint_minutes=0, progress=False)
    return repr((replace(config.data, split_seed=0), config.task, trainer))


def load(config: TrainConfig) -> Any:
    """The data as a run has them."""
    from src.models.weights import locate, read

    weights = config.model.weights and read(locate(config.model.weights, config.model.name))
    return build_data(
        config.data,
        task=config.task.name,
        seed=config.seed,
        accumulate=config.trainer.accumulate,
        devices=config.trainer.devices or 1,
        normalization=weights.normalization if weights else None,
    )


def cost(config: TrainConfig, data: Any, sharing: int, *, measured: bool) -> Cost:
    """The size of a network, the memory of a step, and its time where that is to be measured."""
    import torch

    from src.fit import count, fitting
    from src.memory import free_bytes
    from src.models.complexity import count_parameters

    with torch.device("meta"):
        model = build_network(config, data.info, data.normalization)
    macs = count(config, model, data.info)
    evaluated = data.sizes.get("val", 0) + config.monitor_test * data.sizes["test"]
    result = Cost(config.model.name, count_parameters(model), data.sizes["train"], evaluated)
    result.note = unlike_study(result.parameters, config)
    free = sys.maxsize if ELSEWHERE else free_bytes(config.trainer.accelerator) // sharing
    if config.preflight_memory is not None:
        free = int(1e9 * config.preflight_memory)
    try:
        result.step_bytes = fitting(config, model, data.info, free)[0].total
        if measured:
            result.step_seconds = step_seconds(config, data, macs)
    except UserError as error:
        result.problem = str(error)
    return result


def unlike_study(parameters: int, config: TrainConfig) -> str:
    """What the experiment's study printed instead of so many parameters; "" where it is the same, but for rounding."""
    from src.published import printed
    from src.runs import plain

    facts = {"model": config.model.name, "data": config.data.name, "task": config.task.name}
    value, column = printed(config.experiment_name, "params", facts, plain(config)) or (None, None)
    if value is None or column is None or round(column.scale * parameters, column.digits) == value:
        return ""
    return f"{config.model.name} has {parameters:,} parameters; its study printed {value:,g} ({column.title})."


def step_seconds(config: TrainConfig, data: Any, macs: int) -> float:
    """The time of an optimizer step, from three real ones, of which the first warms up [seconds].

    On a CPU they are of fewer images where a whole batch would take long.
    """
    import torch
    from lightning import Callback

    from src.trainer import build_trainer

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
        runner = build_trainer(config, keeper=None, loggers=[])
        runner.callbacks.append(Stopwatch())  # type: ignore[attr-defined]
        runner.fit(build_task(config, model, data.info), data)
    finally:
        data.batch_size, data.accumulate, data.monitored = before
    ends = ends[1:] if len(ends) > 2 else ends
    return (ends[-1] - ends[0]) / (len(ends) - 1) * part / images * trainer.accumulate


def disk(found: Survey) -> str:
    """What is wrong where the checkpoints will not fit on a disk; "" where they will."""
    from src.memory import OPTIMIZER_STATES, size

    needed: dict[int, int] = {}
    places: dict[int, Path] = {}
    for job in found.jobs:
        if job.state == "waiting" and job.number in found.costs and not (job.path / "checkpoints/last.ckpt").exists():
            config, cost = job.config, found.costs[job.number]
            copies = 1 + OPTIMIZER_STATES[config.optim.name] + (config.optim.ema > 0)
            files = 2 if cost.evaluated else 1  # best.ckpt, too
            place = next(folder for folder in job.path.absolute().parents if folder.exists())
            device = place.stat().st_dev
            places[device] = place
            needed[device] = needed.get(device, 0) + 4 * cost.parameters * copies * files
    for device, place in places.items():
        free = shutil.disk_usage(place).free
        if needed[device] > free:
            return f"{place}: checkpoints will take about {size(needed[device])}, but only {size(free)} is free."
    return ""


def gpus() -> list[str]:
    """The names by which CUDA_VISIBLE_DEVICES knows the GPUs that are here for us."""
    import torch

    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return (named.split(",") if named else list(map(str, range(count))))[:count]


def problems(found: Survey) -> str:
    """All that is wrong, for a person; "" where nothing is."""
    failed = [job for job in found.jobs if job.state == "failed"]
    reasons: dict[str, list[str]] = {}
    for job in failed:
        reasons.setdefault(job.reason, []).append(f"job {job.number} ({job.label})")
    lines = [
        f"  {', '.join(names[:5])}{f' and {len(names) - 5} more' * (len(names) > 5)}: {reason}"
        for reason, names in reasons.items()
    ]
    head = [f"Preflight: {len(failed)} of {len(found.jobs)} jobs cannot run"] if failed else []
    return "\n".join([*head, *lines, *([found.fatal] if found.fatal else [])])


def notes(found: Survey) -> str:
    """What differs from a study though nothing is wrong; "" where nothing does."""
    return "\n".join(dict.fromkeys(f"Note: {cost.note}" for cost in found.costs.values() if cost.note))


def costs(found: Survey) -> str:
    """What the runs will take, by network, and all together."""
    from src.memory import size

    rows = [["network", "runs", "parameters", "memory a step", "time a step", "time a run", "in all"]]
    total = 0.0
    for cost in {id(cost): cost for cost in found.costs.values()}.values():
        times = [cost.seconds(job.config) for job in found.jobs if found.costs.get(job.number) is cost]
        total += sum(times)
        cells = [cost.network, str(len(times)), f"{cost.parameters:,}", size(cost.step_bytes)]
        rows.append([*cells, f"{1e3 * cost.step_seconds:,.0f} ms", duration(mean(times)), duration(sum(times))])
    done = sum(job.state == "done" for job in found.jobs)
    cannot = sum(job.state == "failed" for job in found.jobs)
    tail = f"about {duration(total / len(found.places))} with hydra.launcher.slots={len(found.places)}"
    tail += f"; {done} finished before" * (done > 0) + f"; {cannot} cannot run" * (cannot > 0)
    return f"{table(rows)}\n{tail}"


def alone(config: TrainConfig, exact: Path | None, overrides: list[str]) -> dict[str, Any]:
    """preflight=only for a single run."""
    job = Job(number=0, words=overrides, config=config, exact=exact, label="this run")
    found = survey([job], None)
    if job.state == "failed":
        raise UserError(job.reason)
    if found.fatal:
        raise UserError(found.fatal)
    print(costs(found))
    return {"status": "finished"}
