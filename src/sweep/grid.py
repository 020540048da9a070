"""Hand Hydra's grid of points to the launcher as a whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore

from ..cli.console import FULL_ERROR, set_variable
from ..errors import UserError
from .launcher import Jobs

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


@dataclass
class GridConf(BasicSweeperConf):
    """The settings of the sweeper."""

    _target_: str = "hydra_plugins.jobs.Grid"


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridConf)


MOST_JOBS = 100_000  # of a sweep, more than anybody means


def check_size(words: "Sequence[Override]") -> None:
    """Refuse a grid of more than MOST_JOBS points, which to list would take all memory, and a range without end."""
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

    size = 1.0
    for word in words:
        value = word.value()
        if isinstance(value, RangeSweep):
            start, stop, step = (float(part or 0) for part in (value.start, value.stop, value.step))
            if step == 0:
                raise UserError(f"{word.input_line}: never ends; type another step than 0")
            size *= max(0.0, math.ceil((stop - start) / step))
        elif isinstance(value, ChoiceSweep):
            size *= len(value.list)
    if size > MOST_JOBS:
        raise UserError(f"This sweep has {size:,.0f} jobs; {MOST_JOBS:,} are the most")


class Grid(BasicSweeper):
    """Hydra's grid of points. It composes none of them before the launcher, which reports all mistakes at once."""

    def sweep(self, arguments: list[str]) -> object:
        """Launch the points of these overrides, or search among them."""
        with set_variable("HYDRA_FULL_ERROR", FULL_ERROR):
            return self.launch(arguments)

    def launch(self, arguments: list[str]) -> object:
        """Refuse what the jobs could not follow, then launch the points, or search."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        assert self.hydra_context is not None and self.config is not None
        for source in self.config.hydra.runtime.config_sources:
            if source.provider == "command-line":
                raise UserError(
                    f"--config-dir: the jobs of a sweep would not see it; type hydra.searchpath=[{source.path}] instead"
                )
        searches = self.config.get("hpo") is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        words = parser.parse_overrides([*self._parse_config(), *arguments])
        if searches:
            from .search import search

            if not isinstance(self.launcher, Jobs) or not self.launcher.local:
                raise UserError("hpo=… runs its trials on this machine: leave out hydra/launcher=…")
            search(self.launcher, words)
            return None
        check_size(words)
        (points,) = self.split_arguments(words, max_batch_size=None)
        assert self.launcher is not None
        return [self.launcher.launch(points, initial_job_idx=0)]
