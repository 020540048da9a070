"""Hand Hydra's grid of points to the launcher as a whole."""

from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore

from ..cli.console import FULL_ERROR, set_variable
from ..errors import UserError
from .launcher import Jobs


@dataclass
class GridConf(BasicSweeperConf):
    """The settings of the sweeper."""

    _target_: str = "hydra_plugins.jobs.Grid"


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridConf)


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
        (points,) = self.split_arguments(words, max_batch_size=None)
        assert self.launcher is not None
        return [self.launcher.launch(points, initial_job_idx=0)]
