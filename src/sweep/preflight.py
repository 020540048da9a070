"""Find what is wrong with runs before the first of them starts, and with preflight=only what they will cost.

It looks at the data, the batch, the network, the memory that a step takes, the disk that checkpoints take, and
whether two jobs are one run. Names, types and unknown keys were checked when the jobs were composed.
A launcher does this in another process; it needs neither torch nor Lightning itself, so both are imported late.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from ..config.run import TrainConfig
from ..errors import UserError
from ..text import format_duration, format_table
from .costs import ELSEWHERE, Cost, Looked, estimate_cost, load_run_data, make_data_key
from .jobs import Job, is_locked

if TYPE_CHECKING:
    from ..data.base import DataModule


@dataclass
class Survey:
    """The jobs, each with its run and its reason to fail, and the places of the machine that they share."""

    jobs: list[Job]
    only: bool  # preflight=only: nothing is to be trained
    places: list[str] = field(default_factory=list)  # a GPU's id each, or "" for a part of the CPU
    threads: int = 1  # of each place
    fatal: str = ""  # why none of them can start
    costs: dict[int, Cost] = field(default_factory=dict)  # by the job's number
    looked: "Looked" = field(default_factory=dict)


def survey(jobs: list[Job], slots: int | None) -> Survey:
    """Look at all jobs, and end those as failed that cannot run."""
    import torch

    from ..cli.messages import explain_error

    good = [job for job in jobs if job.state == "waiting"]
    for job in good:
        try:
            locate_run(job)
        except Exception as error:
            job.end("failed", explain_error(error, job.words))
    good = [job for job in good if job.state == "waiting"]
    first: dict[Path, Job] = {}
    for job in good:
        same = first.setdefault(job.path.resolve(), job)
        if same is not job:
            job.end(
                "failed", f"the same run as job {same.number}: they differ only in what is no part of a run's identity"
            )
    only = any(job.config is not None and job.config.preflight == "only" for job in jobs)
    found = Survey(jobs, only)
    ids = list_gpus() if any(job.on_gpu for job in good) and not ELSEWHERE else [""]
    found.places = [ids[i % len(ids)] for i in range(slots or len(ids))]
    found.threads = max(1, torch.get_num_threads() // len(found.places))
    if only:
        torch.set_num_threads(found.threads)
    known: dict[str, Cost] = {}
    data: dict[str, DataModule | UserError] = {}
    for job in good:
        if job.state == "waiting" and not is_locked(job.log):
            try:
                found.costs[job.number] = check_job(job, found, known, data, -(-len(found.places) // len(ids)))
            except Exception as error:
                job.end("failed", explain_error(error, job.words))
    found.fatal = check_disk(found)
    return found


def locate_run(job: Job) -> None:
    """Find a job's run directory and devices, and end it where the run is finished.

    Raise UserError where an unfinished run cannot continue.
    """
    from ..training.settle import find_run

    settled, job.run = find_run(job.config, job.exact, job.words)
    job.config = config = settled.config
    job.devices = config.trainer.devices or 1
    job.on_gpu = config.trainer.accelerator == "gpu"
    results = None if config.fresh else job.run.find_results()
    if results:
        job.results = results
        stale = "" if results.get("code_hash") == job.run.code_hash else "; the code has changed since"
        job.end("done", f"Finished before{stale}")
    elif not config.fresh:
        job.run.find_checkpoints_to_resume(config.resume_anyway)


def check_job(
    job: Job, found: Survey, known: dict[str, Cost], data: "dict[str, DataModule | UserError]", sharing: int
) -> Cost:
    """Return what a job's network costs, from `known` where it was seen; raise UserError where the job cannot run.

    `sharing` jobs share one device's memory.
    """
    config = job.config
    if job.on_gpu and not ELSEWHERE and job.devices > (here := len(set(found.places))):
        raise UserError(
            f"trainer.devices={job.devices}: the launcher's slots are on {here} GPU(s); type no more devices than that."
        )
    data_key, ema = make_data_key(config), config.optim.ema > 0
    key = repr((data_key, config.experiment_name, config.model, config.optim.name, ema, config.finetune))
    if key not in known:
        if data_key not in data:
            data.clear()  # one set at a time lies in memory
            try:
                data[data_key] = load_run_data(config, found.looked)
            except UserError as error:  # a failed download is not tried again for each job
                data[data_key] = error
        loaded = data[data_key]
        if isinstance(loaded, UserError):
            raise loaded
        known[key] = estimate_cost(config, loaded, sharing, measured=found.only)
    if known[key].problem:
        raise UserError(known[key].problem)
    return known[key]


def check_disk(found: Survey) -> str:
    """Return the sentence about a disk that is too small for the checkpoints; "" where they fit."""
    from ..machine.memory import format_size

    needed: dict[int, int] = {}
    places: dict[int, Path] = {}
    for job in found.jobs:
        if job.state == "waiting" and job.number in found.costs and not (job.path / "checkpoints/last.ckpt").exists():
            config, taken = job.config, found.costs[job.number]
            copies = 1 + config.optim.states + (config.optim.ema > 0)
            files = 4 if taken.evaluated else 3  # last, previous and best, and one that is being written
            place = next(folder for folder in job.path.absolute().parents if folder.exists())
            device = place.stat().st_dev
            places[device] = place
            needed[device] = needed.get(device, 0) + 4 * taken.parameters * copies * files
    for device, place in places.items():
        free = shutil.disk_usage(place).free
        if needed[device] > free:
            return (
                f"{place}: checkpoints will take about {format_size(needed[device])}, "
                f"but only {format_size(free)} is free; free some, or type another output_root=…"
            )
    return ""


def list_gpus() -> list[str]:
    """Return the names by which CUDA_VISIBLE_DEVICES knows the GPUs that this process may use."""
    import torch

    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return (named.split(",") if named else list(map(str, range(count))))[:count]


def format_problems(found: Survey) -> str:
    """Format all that is wrong, each reason with its jobs; "" where nothing is."""
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


def format_notes(found: Survey) -> str:
    """Format what differs from a study though nothing is wrong; "" where nothing does."""
    return "\n".join(dict.fromkeys(f"Note: {one.note}" for one in found.costs.values() if one.note))


def format_costs(found: Survey) -> str:
    """Format what the runs will take, by network and all together."""
    from ..machine.memory import format_size

    rows = [["network", "runs", "parameters", "memory a step", "time a step", "time a run", "in all"]]
    total = 0.0
    for each in {id(one): one for one in found.costs.values()}.values():
        times = [each.seconds(job.config) for job in found.jobs if found.costs.get(job.number) is each]
        total += sum(times)
        cells = [each.network, str(len(times)), f"{each.parameters:,}", format_size(each.step_bytes)]
        rows.append(
            [*cells, f"{1e3 * each.step_seconds:,.0f} ms", format_duration(mean(times)), format_duration(sum(times))]
        )
    done = sum(job.state == "done" for job in found.jobs)
    cannot = sum(job.state == "failed" for job in found.jobs)
    tail = f"about {format_duration(total / len(found.places))} with hydra.launcher.slots={len(found.places)}"
    tail += f"; {done} finished before" * (done > 0) + f"; {cannot} cannot run" * (cannot > 0)
    return f"{format_table(rows)}\n{tail}"


def check_single_run(config: TrainConfig, exact: Path | None, overrides: list[str]) -> dict[str, str]:
    """Print what a single run will take, for preflight=only; raise UserError where it cannot run."""
    job = Job(number=0, words=overrides, config=config, exact=exact, label="this run")
    found = survey([job], None)
    if job.state == "failed":
        raise UserError(job.reason)
    if found.fatal:
        raise UserError(found.fatal)
    print(format_costs(found))
    return {"status": "finished"}
