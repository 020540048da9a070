"""Train a network: ``python -m src.train model=resnet56 data=cifar10``.

The same command again returns a finished run's result or resumes an unfinished one.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from src import ranks
from src.cli import TRACEBACKS, changed, compose_and_run, help_text, main, say, sentence, typed, variable
from src.config import TrainConfig
from src.errors import UserError
from src.runs import ENDED, Run, config_hash, default_path, identity, load_config, missing, remove_empty

RESUME_MAY_CHANGE = (
    "trainer.max_epochs",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.precision",
    "trainer.compile",
    "trainer.fold",
    "trainer.graph",
)
MADE_BY_HYDRA = ("hydra.run.dir=", "hydra.sweep.dir=", "output_root=")  # Hydra makes these before the job begins
RANK_ZERO_DECIDED = "TRAIN_RUN_DIRECTORY"  # tells the other processes of a DDP run where rank 0 has begun


def story() -> int:
    """Train one run, or each point of a sweep (-m); the exit code is 0 only if every one of them finished."""
    from src.jobs import ENTRIES, FailedJobError, follow_launcher
    from src.results import objective

    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_text())
        return 0
    follow_launcher()
    jobs = ENTRIES
    named = [word.split("=", 1)[1] for word in sys.argv[1:] if word.startswith(MADE_BY_HYDRA)]
    made = [folder for name in named for folder in missing(Path(name))]  # a wrong input leaves none of them behind

    def one(config: Any) -> float | None:
        jobs.append(job(config, made))
        return objective(jobs[-1])

    try:
        with contextlib.suppress(FailedJobError):  # the table says it
            compose_and_run(one)
    finally:
        if len(jobs) > 1 or (jobs and {"-m", "--multirun"} & set(sys.argv)):
            print(sweep_table(jobs))
    return 0 if all(entry["status"] in ENDED for entry in jobs) else 1


def job(config: Any, made: list[Path]) -> dict[str, Any]:
    """One run from its composed configuration; a failure is told and recorded, so that a sweep goes on.

    `made` are the directories that Hydra has made for it; they go again where nothing came into them.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    sweep = hydra.mode == RunMode.MULTIRUN
    label = " ".join(hydra.overrides.task) or "defaults"
    if sweep:
        say(f"\n[job {hydra.job.num}] {label}")
    try:
        run_config = typed(config)
        if run_config.hpo is not None:
            raise UserError("hpo=… is a search of many runs: type -m, too.")
        exact = placed(run_config, Path(hydra.runtime.output_dir), hydra.sweep.subdir if sweep else "")
        if sweep and (run_config.trainer.strategy == "ddp" or (run_config.trainer.devices or 1) > 1):
            raise UserError("Several devices in a sweep need a process a run; leave out hydra/launcher=basic.")
        return train(run_config, exact, overrides=list(hydra.overrides.task)) | {"label": label}
    except Exception as error:
        if TRACEBACKS:
            raise
        reason = sentence(error)
        say(reason)
        return {"status": "failed", "reason": reason, "label": label}
    finally:
        remove_empty(made)


def placed(config: TrainConfig, directory: Path, subdir: str) -> Path | None:
    """The run directory where the user chose one; a sweep's directory without one for each job is an output root."""
    if directory.resolve() == Path(config.output_root).resolve():
        return None
    if subdir == ".":
        config.output_root = str(directory)
        return None
    return directory


def train(config: TrainConfig, exact: Path | None = None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Bring a run to its end, from wherever it stands, and return its results (the content of results.json).

    `exact` is the run directory where the user chose one. Raises UserError for every wrong input.
    """
    if config.preflight == "only":
        from src import preflight

        return preflight.alone(config, exact, overrides or [])
    rank = ranks.own()
    if rank and rank.number > 0:
        rank.follow()
        os.environ[RANK_ZERO_DECIDED] = "told"
    with ranks.leading():
        return brought_to_its_end(config, exact, overrides or [])


def brought_to_its_end(config: TrainConfig, exact: Path | None, overrides: list[str]) -> dict[str, Any]:
    """The results of a run: found, or trained for, as rank 0 decides."""
    config, run, content = located(config, exact, overrides)
    if RANK_ZERO_DECIDED in os.environ:  # a process of several: rank 0 decided, we follow
        from src.fit import fit

        config.fresh = False
        return fit(config, run, content)
    if not config.fresh and (results := run.results()):
        say(already(run.path, results, run.code_hash))
        return results
    with run.hold():
        if not config.fresh and (results := run.results()):  # another process finished it meanwhile
            return results
        from src.fit import fit

        with variable(RANK_ZERO_DECIDED, str(run.path)):
            return fit(config, run, content)


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
    from src.data import fingerprint

    content = fingerprint(config.data)
    name = config_hash(config, content)
    adopt = bool(config.resume) or config.fresh
    return config, Run(exact or default_path(config, name), name, adopt=adopt, test=config.test), content


def settle(config: TrainConfig) -> None:
    """Replace each "auto" by what it means for this network and this machine, so that the run's identity says it."""
    from src import graph, hardware

    if config.optim.warmup is None:
        config.optim.warmup = 0.0 if config.optim.schedule == "plateau" else config.model.warmup
    trainer = config.trainer
    trainer.accelerator, trainer.devices, trainer.precision = hardware.resolve(trainer)
    if trainer.graph != "none" and (reason := graph.why_not(config)):
        if RANK_ZERO_DECIDED not in os.environ:
            say(f"trainer.graph={trainer.graph} is left out: {reason}.")
        trainer.graph = "none"
    if trainer.num_nodes > 1:
        from src.data.base import check_parts

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
        from src.models.weights import locate, read, sha256_of

        path = locate(config.model.weights, config.model.name)
        found = sha256_of(path)
        if config.model.weights_sha256 not in ("", found):
            raise UserError(f"model.weights={path}: its sha256 is {found}, not {config.model.weights_sha256}")
        config.model.weights_sha256 = found
        expected = read(path).normalize
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


def already(path: Path, results: dict[str, Any], code: str) -> str:
    """What to say of a run that is finished: where it is and its numbers, and whether the code has changed since."""
    from src.results import summary

    stale = "" if results.get("code_hash") == code else "\nThe code has changed since (fresh=true trains anew)."
    return f"Finished before: {path}{stale}{summary(results)}"


def sweep_table(jobs: list[dict[str, Any]]) -> str:
    """One table of all jobs, and the reasons of those that failed."""
    from src.results import HEADLINES, TITLES, duration, table

    found = {key.removeprefix("test/") for entry in jobs for key in entry.get("metrics", {}) if key.startswith("test/")}
    names = [name for name in HEADLINES if name in found] or ["accuracy"]
    rows = [["job", "", *(f"test {TITLES[name]}" for name in names), "time"]]
    failed = []
    for number, entry in enumerate(jobs):
        if entry["status"] in ENDED:
            values = (entry["metrics"].get(f"test/{name}") for name in names)
            cells = ["" if value is None else f"{value:.4f}" for value in values]
            cells.append(duration(entry["time"]["fit_seconds"]))
        else:
            cells = [entry["status"], *[""] * len(names)]
            failed.append(f"job {number} ({entry['label']}): {entry['status']}: {entry['reason']}")
        rows.append([str(number), entry["label"], *cells])
    return "\n" + table(rows, left=2) + ("\n\n" + "\n".join(failed) if failed else "")


if __name__ == "__main__":
    main(story)
