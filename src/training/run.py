"""Find, resume or train a run."""

import os
from dataclasses import replace
from pathlib import Path

from ..cli.console import say, set_variable, show_step
from ..config.run import TrainConfig
from ..errors import UserError
from ..machine import ranks
from ..machine.ranks import RANK_ZERO_DECIDED
from ..runs.directory import Run
from ..runs.results import Results
from .lr_find import find_learning_rate
from .messages import describe_finished_run
from .settle import Settled, find_run


def train(config: TrainConfig, exact: Path | None = None, overrides: list[str] | None = None) -> Results:
    """Train a run, resume it or find it finished, and return its results (the content of results.json).

    `exact` is the run directory where the user chose one. Raises UserError for every wrong input.
    """
    rank = ranks.find_rank()
    if rank and rank.number > 0:
        rank.wait_for_decision()
        os.environ[RANK_ZERO_DECIDED] = "told"
    show_step("importing torch")
    with ranks.announce_end():
        files: list[Path] = []
        if config.optim.find_lr and not config.resume:
            config, files = find_learning_rate(config)
        settled, run = find_run(config, exact, overrides or [])
        settled = replace(settled, files=tuple(files))
        if RANK_ZERO_DECIDED in os.environ:  # one of several processes: rank 0 has decided what to do
            return train_held_run(replace(settled, config=replace(settled.config, fresh=False)), run)
        fresh = settled.config.fresh
        if not fresh and (results := run.find_results()):
            say(describe_finished_run(settled.config, run, results))
            return results
        with run.hold():
            if not fresh and (results := run.find_results()):  # another process finished it meanwhile
                return results
            with set_variable(RANK_ZERO_DECIDED, str(run.path)):
                return train_held_run(settled, run)


def train_held_run(settled: Settled, run: Run) -> Results:
    """Train a run whose directory is held, from its last checkpoint where it has one."""
    show_step("importing lightning")
    from .assemble import assemble  # late, because Lightning takes seconds to import
    from .checkpoints import count_epochs, load_network, load_newest
    from .fit import fit

    config = settled.config
    found = None if config.fresh else load_newest(run.find_checkpoints_to_resume(config.resume_anyway))
    if found is None:
        return fit(assemble(settled), run)
    path, checkpoint = found
    if path == run.previous:
        say(f"{run.last}: missing or damaged; continuing from {path.name}, which was saved before it.")
        path.replace(run.last)  # else the next checkpoint would give its name to the damaged one
    if config.trainer.max_epochs < (done := count_epochs(checkpoint, run.path)):
        raise UserError(
            f"trainer.max_epochs={config.trainer.max_epochs}: {run.path} has trained {done} epochs already; set at "
            f"least {done}"
        )
    assembly = assemble(settled, checkpoint=checkpoint)
    load_network(assembly.network, checkpoint, run.last)
    return fit(assembly, run, resume=run.last)
