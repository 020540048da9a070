"""Train a network: ``python -m src.train model=resnet56 data=cifar10``.

The same command again returns a finished run's result or resumes an unfinished one.
"""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .cli.compose import compose_and_run, to_train_config
from .cli.console import TRACEBACKS, say, show_page, show_step
from .cli.help import format_help
from .cli.main import main
from .cli.messages import explain_error
from .errors import UserError
from .files import find_missing_folders, remove_empty
from .machine import ranks
from .runs.directory import ENDED
from .runs.find import resolve_words
from .runs.results import Results
from .training.messages import format_sweep
from .training.run import train
from .training.settle import choose_directory

if TYPE_CHECKING:
    from omegaconf import DictConfig

MADE_BY_HYDRA = ("hydra.run.dir=", "hydra.sweep.dir=", "output_root=")  # Hydra makes these folders before a job


def run_command() -> int:
    """Train one run, or each point of a sweep (-m), and return the exit code: 0 only if every run has ended well."""
    from .sweep.jobs import ENTRIES, FailedJobError, follow_launcher
    from .tasks.table import find_objective

    if {"--help", "-h"} & set(sys.argv[1:]):
        show_page(format_help())
        return 0
    follow_launcher()
    show_step("reading the settings")
    sys.argv[1:] = resolve_short_names(sys.argv[1:])
    jobs = ENTRIES
    named = [word.split("=", 1)[1].strip("'\"") for word in sys.argv[1:] if word.startswith(MADE_BY_HYDRA)]
    # to be removed again after a wrong input
    made = [folder for name in (*named, "outputs") if name for folder in find_missing_folders(Path(name))]

    def run_one(config: "DictConfig") -> float | None:
        jobs.append(run_job(config))
        return find_objective(jobs[-1])

    try:
        with contextlib.suppress(FailedJobError):  # the table names the failed job
            compose_and_run(run_one)
    finally:
        remove_empty(made)
        if len(jobs) > 1 or (jobs and {"-m", "--multirun"} & set(sys.argv)):
            print(format_sweep(jobs))
    return 0 if all(entry["status"] in ENDED for entry in jobs) else 1


def resolve_short_names(words: list[str]) -> list[str]:
    """Return the words with paths for short names of runs; UserError where other processes do the same elsewhere."""
    resolved = resolve_words(words, ("resume", "model.weights"))
    if resolved != words and (rank := ranks.find_rank()):
        named = next(word for word, path in zip(words, resolved, strict=True) if word != path)
        raise UserError(f"{named}: the processes of {rank.starter} could take it for different runs; type the path")
    return resolved


def run_job(config: "DictConfig") -> Results:
    """Run one composed configuration; report and return a failure, so that a sweep continues."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    hydra = HydraConfig.get()
    sweep = hydra.mode == RunMode.MULTIRUN
    words = [str(word) for word in OmegaConf.to_container(hydra.overrides.task, resolve=False)]  # type: ignore[union-attr]
    label = " ".join(words) or "defaults"
    if sweep:
        say(f"\n[job {hydra.job.num}] {label}")
    try:
        run_config = to_train_config(config)
        if run_config.hpo is not None:
            raise UserError("hpo=… is a search of many runs: add -m.")
        subdir = hydra.sweep.subdir if sweep else ""
        run_config, exact = choose_directory(run_config, Path(hydra.runtime.output_dir), subdir)
        if sweep and (run_config.trainer.strategy == "ddp" or (run_config.trainer.devices or 1) > 1):
            raise UserError("In a sweep, several devices need a process for each run: leave out hydra/launcher=basic.")
        if run_config.preflight == "only":
            from .sweep import preflight

            return preflight.check_single_run(run_config, exact, words) | {"label": label}
        return train(run_config, exact, overrides=words) | {"label": label}
    except Exception as error:
        if TRACEBACKS:
            raise
        reason = explain_error(error)
        say(reason)
        return {"status": "failed", "reason": reason, "label": label}


if __name__ == "__main__":
    main(run_command)
