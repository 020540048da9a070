"""Bring a run to its end, from wherever it stands."""

import os
from pathlib import Path
from typing import Any

from ..cli.console import say, variable
from ..config.run import TrainConfig
from ..machine import ranks
from ..machine.ranks import RANK_ZERO_DECIDED
from .messages import already
from .settle import located


def train(config: TrainConfig, exact: Path | None = None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Bring a run to its end, from wherever it stands, and return its results (the content of results.json).

    `exact` is the run directory where the user chose one. Raises UserError for every wrong input.
    """
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
        from .fit import fit

        config.fresh = False
        return fit(config, run, content)
    if not config.fresh and (results := run.results()):
        say(already(run.path, results, run.code_hash))
        return results
    with run.hold():
        if not config.fresh and (results := run.results()):  # another process finished it meanwhile
            return results
        from .fit import fit

        with variable(RANK_ZERO_DECIDED, str(run.path)):
            return fit(config, run, content)
