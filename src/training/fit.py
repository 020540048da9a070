"""Train and test one run, from its assembly to its results.json.

Import this module late: Lightning takes seconds to import.
"""

import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from lightning import Trainer

from ..cli.console import say
from ..cli.messages import explain_error
from ..data.photos.manifest import MANIFEST, read_manifest, write_manifest
from ..errors import UserError
from ..files import write_atomic, write_json
from ..machine import ranks
from ..machine.hardware import describe_environment, explain_out_of_memory, measure_peak_memory
from ..runs.archive import DamagedError
from ..runs.directory import Run
from ..runs.identity import compute_config_hash, to_plain
from ..runs.results import Results
from ..runs.stored import read_command_line
from .assemble import Assembly, describe_memory, prepare_network
from .checkpoints import load_checkpoint, load_network
from .companions import Companions
from .finite import Finite
from .history import History
from .loggers.base import Identity, RunLogger
from .loggers.build import build_loggers, list_tags, make_readable_name
from .messages import describe_data, describe_start, describe_stop, summarize_run
from .patience import Patience
from .pictures import Pictures
from .progress import Progress, Snapshots, Work
from .readiness import check_batch_statistics, record_photos
from .saving import Saving
from .settle import open_run
from .stopping import Interrupted, InterruptedAtOnce, Stopping
from .trainer import build_trainer


@dataclass(frozen=True)
class Session:
    """A Trainer, with the callback, the loggers and the facts that the end of a run reads."""

    trainer: Trainer
    companions: Companions
    history: History
    loggers: list[RunLogger]
    facts: Results  # the part of results.json that is known before training


def fit(assembly: Assembly, run: Run | None = None, *, resume: Path | None = None) -> Results:
    """Train, test once (not with test=false), write the files of a finished run, and return its results.json.

    `run` is the run directory, by default the run's own; the caller holds its lock. `resume` is the checkpoint to
    continue from. Raises UserError for a wrong input, before anything is written, and KeyboardInterrupt after Ctrl-C,
    once everything is saved.
    """
    config, data, task = assembly.config, assembly.data, assembly.task
    run = run or open_run(assembly.settled)
    session = prepare(assembly, run, resume)
    trainer = session.trainer

    with report_failures(session, run, assembly):
        train_from(resume, session, assembly)
        load_tested_weights(assembly, run)
        if config.test:
            trainer.test(task, data, verbose=False)
        results = collect_results(assembly, run, session)
        if trainer.is_global_zero:
            write_files(assembly, run, session, results)

    if trainer.is_global_zero:
        say(f"{summarize_run(results)}\n{run.path}")
    return results


def train_from(resume: Path | None, session: Session, assembly: Assembly) -> None:
    """Train; raise DamagedError where the checkpoint to resume from lacks a part of the state of a training."""
    try:
        session.trainer.fit(assembly.task, assembly.data, ckpt_path=resume, weights_only=True)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if resume is None or session.history.began is not None:
            raise
        reason = f"{type(error).__name__} while its state was restored"
        other = resume.with_name("previous.ckpt")
        advice = (
            f"Delete it, and the same command continues from {other}."
            if other != resume and other.exists()
            else "The run's own command with fresh=true starts over."
        )
        raise DamagedError(f"{resume}: damaged, or not written by us ({reason}). {advice}") from error


def load_tested_weights(assembly: Assembly, run: Run) -> None:
    """Load the weights that the protocol tests; raise UserError where their checkpoint is missing or damaged."""
    path = run.best if assembly.config.protocol == "best_val" else run.last
    try:
        tested = load_checkpoint(path)
        load_network(assembly.network, tested, path)
    except UserError as error:
        other = f"; {run.last} holds the last epoch, for python -m src.evaluate run=…" if path == run.best else ""
        raise UserError(f"{error}{other}. The run's own command with fresh=true trains anew.") from None
    assembly.task.adopt(tested)


def write_files(assembly: Assembly, run: Run, session: Session, results: Results) -> None:
    """Write the files of a run that has ended; results.json comes last, for it is what makes the run finished."""
    test, task = assembly.config.test, assembly.task
    run.require_place()
    if test:
        write_test(assembly, run, results)
    confusion = task.get_confusion() if test else None
    for logger in session.loggers:
        logger.summary(results, confusion=confusion, classes=assembly.data.info.classes)
        logger.finish(failed=False)
    run.write_record(missing=True)
    write_json(run.path / "results.json", results)


def prepare(assembly: Assembly, run: Run, resume: Path | None) -> Session:
    """Check that the run fits, start its directory and loggers, and tell the person and the other processes."""
    config, network = assembly.config, assembly.network
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    memory = f"Memory: {describe_memory(config, network, assembly.data.info)}"
    check_batch_statistics(config, network, assembly.data)
    photos = record_photos(config, assembly.data, [] if config.fresh else read_manifest(run.path / MANIFEST))
    loggers = build_loggers(config.logger.values())
    if config.fresh:
        run.clear()  # only now, when data and network are known to be right and to fit
    prepare_network(config, network)
    session = begin_session(assembly, run, loggers)
    if session.trainer.is_global_zero:
        run.start(config, read_command_line(), assembly.settled.content)
        for path in assembly.settled.files:
            write_atomic(run.path / path.name, path.read_bytes())
        if photos:
            write_manifest(run.path / MANIFEST, photos)
        notes = [*describe_data(assembly.data, session.facts), *assembly.notes, memory]
        say(describe_start(config, run, session.facts, network, notes, resumed=resume is not None))
    ranks.announce("train")
    return session


def begin_session(assembly: Assembly, run: Run, loggers: Sequence[RunLogger] = ()) -> Session:
    """Start the loggers, and build the Trainer with its callbacks."""
    config, data = assembly.config, assembly.data
    assembly.task.logs = False  # History tells the loggers of an epoch
    facts = collect_facts(assembly, run)
    for logger in loggers:
        logger.start(identify(assembly, run, facts))
    history = History(run, batch_size=config.data.batch_size, loggers=loggers)
    companions, snapshots, stopping = Companions(), Snapshots(), Stopping()
    progress = Progress(snapshots=snapshots, history=history, work=count_work(assembly), draw=config.trainer.progress)
    carried = {
        "config": to_plain(config),
        "data_fingerprint": assembly.settled.content,
        "info": asdict(data.info),
        "normalization": data.normalization,
        "config_hash": run.config_hash,
        "code_hash": run.code_hash,
    }
    minutes, kept = config.trainer.checkpoint_minutes, config.trainer.keep_epochs
    saving = Saving(run, minutes=minutes, carried=carried, history=history, stopping=stopping, kept=kept)
    # in this order, for each reads what those before it have found
    callbacks = [companions, snapshots, Finite(run, snapshots), history, progress, saving, stopping]
    if config.trainer.patience is not None:
        callbacks.insert(-1, Patience(history, config.trainer.patience))
    lightning = [logger.lightning for logger in loggers if logger.lightning is not None]
    trainer = build_trainer(config, callbacks=[*callbacks, Pictures(run.path / "pictures", loggers)], loggers=lightning)
    return Session(trainer, companions, history, list(loggers), facts)


def count_work(assembly: Assembly) -> Work:
    """Count the images of an epoch and of the final test, for the bar."""
    facts, test = assembly.facts, assembly.config.test
    watched = sum(facts[f"n_{split}"] for split in assembly.task.monitored)
    return Work(train=facts["n_train"], val=watched, test=facts["n_test"] if test else 0)


def collect_facts(assembly: Assembly, run: Run) -> Results:
    """Return the part of results.json that is known before training."""
    config = assembly.config
    return {
        "run": str(run.path),
        "command": run.choose_command(read_command_line()),
        "config_hash": run.config_hash,
        "code_hash": run.code_hash,
        "model": config.model.name,
        "data": config.data.name,
        **({"data_title": config.data.label} if config.data.label != config.data.name else {}),
        "data_fingerprint": assembly.settled.content,
        "task": config.task.name,
        "seed": config.seed,
        **assembly.facts,
        "ema": config.optim.ema,
        "protocol": config.protocol,
        **({"headline": chosen} if (chosen := getattr(config.task, "headline", "accuracy")) != "accuracy" else {}),
        "monitor_test": config.monitor_test,
        "environment": describe_environment(config.trainer.accelerator, config.trainer.precision),
    }


def identify(assembly: Assembly, run: Run, facts: Results) -> Identity:
    """Return the names, tags and facts of the run for its loggers."""
    config, settled = assembly.config, assembly.settled
    pool = compute_config_hash(replace(config, seed=0), settled.content)[:6]  # shared by runs that differ in their seed
    logged = to_plain(config) | {name: facts[name] for name in ("params", "macs", "n_train", "config_hash")}
    return Identity(
        path=run.path,
        name=make_readable_name(config),
        group=config.experiment_name or None,
        tags=list_tags(config),
        run_id=run.get_wandb_id(),
        facts=logged | {"pool": f"{make_readable_name(config, seed=False)}-{pool}"},
    )


@contextmanager
def report_failures(session: Session, run: Run, assembly: Assembly) -> Iterator[None]:
    """Turn a signal into a KeyboardInterrupt with a message, and an error into a recorded UserError."""
    trainer, config = session.trainer, assembly.config
    try:
        yield
        session.companions.end()
    except (Interrupted, SystemExit) as stop:  # Lightning turns a Ctrl-C in the final test into SystemExit
        session.companions.end("" if type(stop) is Interrupted else "interrupted")  # all have agreed on the first
        if not trainer.is_global_zero:
            sys.exit(0)  # any other code would make Lightning kill rank 0
        raise KeyboardInterrupt(describe_stop(config, run, at_once=isinstance(stop, InterruptedAtOnce))) from None
    except Exception as error:
        if not isinstance(error, UserError):
            session.companions.blame_lost()
        reason = explain_out_of_memory(error) or explain_error(error)
        session.companions.end(reason)
        with suppress(OSError, UserError):  # the first error is the one to tell; another run may have the place now
            if trainer.is_global_zero and run.path.is_dir():
                run.require_place()
                write_json(run.path / "results.json", session.facts | {"status": "failed", "reason": reason})
        for logger in session.loggers:
            with suppress(Exception):
                logger.finish(failed=True)
        raise UserError(reason) from error


def collect_results(assembly: Assembly, run: Run, session: Session) -> Results:
    """Return the content of results.json for a run that has ended."""
    config, task, trainer = assembly.config, assembly.task, session.trainer
    session.history.require_last_row(trainer.current_epoch)
    rows = session.history.rows
    headline = f"val/{task.headline}"
    chosen = max(rows, key=lambda row: row[headline]) if config.protocol == "best_val" else rows[-1]
    metrics = {key: value for key, value in chosen.items() if key.startswith(("train/", "val/"))}
    return session.facts | {
        **({"status": "finished"} if config.test else {"status": "untested", "reason": "test=false"}),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "metrics": (task.epoch_metrics if config.test else {}) | metrics,
        "time": {
            "fit_seconds": session.history.fit_seconds,
            "epoch_seconds": statistics.median(row["seconds"] for row in rows),
            "images_per_second": statistics.median(row["images_per_second"] for row in rows),
        },
        "peak_memory_bytes": measure_peak_memory(config.trainer.accelerator),
        "wandb_id": run.get_wandb_id() if "wandb" in config.logger else None,
    }


def write_test(assembly: Assembly, run: Run, results: Results) -> None:
    """Write the files of the final test, and set n_test to the number of samples seen.

    Raises RuntimeError where samples of the test set are missing or were seen twice.
    """
    task, expected = assembly.task, assembly.data.sizes["test"]
    if not assembly.config.trainer.limit_test_batches and task.seen != expected:
        raise RuntimeError(f"the final test has seen {task.seen} samples, but the test set has {expected}")
    results["n_test"] = task.seen  # fewer with trainer.limit_test_batches
    task.write_test_files(run.path, assembly.data.info)
