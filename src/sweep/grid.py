"""Hand Hydra's grid of points to the launcher as a whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    _target_: str = "hydra_plugins.residual.Grid"
    margin: float = 0.35  # seed=auto: the difference between two networks that still counts as none, in points
    # settings that a value of the grid brings, as in model=vgg19: {optim.lr: 0.01}; src.cli.compose adds them
    brings: dict[str, dict[str, Any]] = field(default_factory=dict)


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


def require_points(points: Sequence[Sequence[str]], words: "Sequence[Override]") -> None:
    """Refuse a sweep without jobs, such as over model=glob(resnat*)."""
    empty = [word for word in words if word.is_sweep_override() and not list(word.sweep_string_iterator())]
    if not points or empty:
        named = f"{empty[0].input_line}: matches nothing, so that this" if empty else "This"
        raise UserError(f"{named} sweep has no jobs")


LOOKS = [3, 5, 7]  # seeds, for seed=auto; after seven, a further one narrows an interval by less than a tenth


def read_auto(words: "Sequence[Override]") -> list[int]:
    """Return the looks of seed=auto; [] where the seeds are typed. UserError for looks that are none."""
    from hydra.core.override_parser.types import ChoiceSweep

    last = {word.key_or_group: word for word in words}
    seed = last.get("seed")
    value = seed.value() if seed else None
    if (list(seed.sweep_string_iterator()) if seed and isinstance(value, ChoiceSweep) else [value]) != ["auto"]:
        return []
    typed = last["looks"].value() if "looks" in last else LOOKS
    looks = [n for n in typed if type(n) is int and n > 1] if isinstance(typed, list) else []
    if not looks or sorted(set(looks)) != typed:
        raise UserError(f"looks={typed}: type rising numbers of seeds from 2 on, as in looks=[3,5,7]")
    return looks


class Grid(BasicSweeper):
    """Hydra's grid of points. It composes none of them before the launcher, which reports all mistakes at once."""

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None = None,
        *,
        margin: float,
        brings: dict[str, dict[str, Any]],
    ) -> None:
        super().__init__(max_batch_size, params)
        if margin <= 0:
            raise UserError(f"hydra.sweeper.margin={margin}: type points above 0")
        self.margin = margin

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
        if searches and not getattr(self.launcher, "local", False):
            raise UserError("hpo=… runs its trials on this machine: leave out hydra/launcher=…")
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        words = parser.parse_overrides([*self._parse_config(), *arguments])
        looks = read_auto(words)
        if looks and (searches or not isinstance(self.launcher, Jobs)):
            raise UserError("seed=auto adds runs to a grid: leave out hpo=… and hydra/launcher=basic")
        if not searches:
            check_size(words)
        if not isinstance(self.launcher, Jobs):
            require_points(self.split_arguments(words, max_batch_size=None)[0], words)
            try:
                return super().sweep(arguments)
            finally:  # Hydra's own record, which nobody reads: it would keep an empty folder after a wrong input
                (Path(self.config.hydra.sweep.dir) / "multirun.yaml").unlink(missing_ok=True)
        if searches:
            from .search import search

            search(self.launcher, words)
            return None
        if looks:
            from .seeds import run_until_settled

            others = [word for word in words if word.key_or_group not in ("seed", "looks")]
            (points,) = self.split_arguments(others, max_batch_size=None)
            require_points(points, words)
            return run_until_settled(self.launcher, points, looks, self.margin)
        (points,) = self.split_arguments(words, max_batch_size=None)
        require_points(points, words)
        return [self.launcher.launch(points, initial_job_idx=0)]
