"""Compute what probes find, part by part and over processes; finished parts are kept and never computed twice."""

import functools
import hashlib
import io
import json
import os
import signal
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from ...cli.console import say
from ...errors import UserError
from ...files import read_json, write_atomic, write_json
from ...runs.identity import ROOMS, compute_code_hash
from .base import Found, NotApplicableError, Options, Probe, Row
from .table import PROBES
from .targets import Target

Problem = tuple[str, str]  # of a probe: its name, and why it has nothing to say


@dataclass(frozen=True)
class Job:
    """A part of a probe of a network; ``path`` is where what it finds is kept, without the file's ending."""

    probe: str
    target: Target
    options: Options
    part: str
    path: Path

    @property
    def done(self) -> bool:
        return self.path.with_suffix(".json").exists()


@functools.cache
def identify_code() -> str:
    """Return a hash of the code that networks, data and probes are made by."""
    return compute_code_hash((*ROOMS, "analysis/probes"))


def plan(probes: dict[str, Options], targets: Sequence[Target], folder: Path) -> list[Job]:
    """Return the jobs of these probes, those of a network one after another."""
    from .subjects import identify_target

    jobs = []
    for target in targets:
        network = identify_target(target)
        for name, options in probes.items():
            for part in PROBES[name].parts(options):
                facts = [identify_code(), network, target.at, name, vars(options), part]
                key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
                jobs.append(Job(name, target, options, part, folder / key))
    return sorted(jobs, key=lambda job: (targets.index(job.target), job.options.split, job.options.images))


def run_job(job: Job) -> Problem | None:
    """Compute a part and keep what it finds; return why the probe does not apply, or None."""
    from ...tasks.base import use_full_precision
    from .subjects import open_subject

    probe: Probe[Any] = PROBES[job.probe]
    subject = open_subject(job.target, job.options.images, job.options.split)
    try:
        with use_full_precision(subject.images.device):
            found = probe.compute(subject, job.options, job.part)
    except NotApplicableError as error:
        return job.probe, str(error)
    if found.arrays:
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **found.arrays)
        write_atomic(job.path.with_suffix(".npz"), packed.getbuffer())
    write_json(job.path.with_suffix(".json"), {"rows": list(found.rows)})  # last: it makes the part finished
    return None


def run_jobs(jobs: Sequence[Job], workers: int) -> list[Problem]:
    """Compute the parts that are missing; return where a probe does not apply.

    Raises UserError where a process ends, and KeyboardInterrupt, with a message, after Ctrl-C.
    """
    missing = [job for job in jobs if not job.done]
    if len(jobs) > len(missing):
        say(f"{len(jobs) - len(missing)} of {len(jobs)} parts are there already.")
    try:
        if workers == 1 or len(missing) < 2:
            return [problem for i, job in enumerate(missing, 1) if (problem := run_and_tell(job, i, len(missing)))]
        return run_in_processes(missing, min(workers, len(missing)))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("\nStopped; the same command continues with what is missing.") from None


def run_and_tell(job: Job, number: int, count: int) -> Problem | None:
    """Compute a part here, and say so before."""
    say(describe_job(job, number, count))
    return run_job(job)


def describe_job(job: Job, number: int, count: int) -> str:
    """Say which part this is, and of how many."""
    parts = PROBES[job.probe].parts(job.options)
    part = f", part {parts.index(job.part) + 1} of {len(parts)}" if len(parts) > 1 else ""
    return f"[{number}/{count}] {job.probe}: {job.target.label}, at={job.target.at}{part}"


def run_in_processes(jobs: Sequence[Job], workers: int) -> list[Problem]:
    """Compute parts in so many processes, each with its part of the cores, unless trainer.threads says otherwise."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: list[Problem] = []
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=begin_process, initargs=(max(1, cores // workers),)
    )
    waiting: set[Future[Problem | None]] = set()
    try:
        waiting = {pool.submit(run_job, job) for job in jobs}
        while waiting:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            found += [problem for future in ended if (problem := future.result())]
            say(f"[{len(jobs) - len(waiting)}/{len(jobs)}]")
    except BrokenProcessPool:
        raise UserError(
            "A process was ended from outside, such as for lack of memory; the same command continues, with fewer "
            "workers= or images="
        ) from None
    finally:
        for future in waiting:
            future.cancel()
        for process in list((pool._processes or {}).values()) if waiting else ():
            process.terminate()
        pool.shutdown(cancel_futures=True)
    return found


def begin_process(threads: int) -> None:
    """Leave Ctrl-C to the first process, and take a part of the cores."""
    import torch

    from ...training import assemble

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assemble.THREADS = threads
    torch.set_num_threads(threads)


def read_found(jobs: Sequence[Job]) -> Found | None:
    """Put the parts of one network together; None where one is missing. Raises UserError for a damaged part."""
    rows: list[Row] = []
    arrays: dict[str, Any] = {}
    for job in jobs:
        file = job.path.with_suffix(".json")
        content = read_json(file, "delete it, and the same command computes it again")
        if content is None:
            return None
        rows += content["rows"]
        arrays |= read_arrays(job.path.with_suffix(".npz"))
    return Found(rows, arrays)


def read_arrays(path: Path) -> dict[str, Any]:
    """Read the arrays of a part, if it has any; raise UserError where they are damaged."""
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception:  # a damaged zip raises anything
        raise UserError(f"{path}: damaged; delete it and the .json beside it, and type the command again") from None
