"""Read the plain and the residual networks among the reader's runs, finished or not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import UserError
from ..files import read_json
from ..report.result import find_nested, find_run_directories, make_legible, read_config
from ..runs.results import read_metrics
from ..text import natural_sort_key

Key = tuple[str, str, str]  # what runs must share to be comparable: data, training images, epochs


@dataclass(frozen=True)
class Case:
    """A run of a network that is plain or residual; ``rows`` are those of its metrics.csv."""

    path: Path
    config: Mapping[str, object]
    rows: Sequence[Mapping[str, float]]

    def setting(self, name: str) -> str:
        return make_legible(str(find_nested(self.config, name)))

    @property
    def model(self) -> str:
        return self.setting("model.name")

    @property
    def depth(self) -> int:
        return int(self.setting("model.depth"))

    @property
    def residual(self) -> bool:
        return self.setting("model.shortcut") != "none"

    @property
    def kind(self) -> str:
        return "residual" if self.residual else "plain"

    @property
    def seed(self) -> str:
        return self.setting("seed")

    @property
    def key(self) -> Key:
        return self.setting("data.name"), self.setting("data.limit_train"), str(len(self.rows))

    @cached_property
    def command(self) -> str:
        """The command that made the run, as it was typed."""
        for name in ("run.json", "results.json"):
            content = read_json(self.path / name) or {}
            if isinstance(content.get("command"), str):
                return make_legible(content["command"])
        return ""

    @cached_property
    def final(self) -> dict[str, float]:
        """The errors of the last epoch in percent, by "train", "val" and "test"."""
        metrics = dict(self.rows[-1]) if self.rows else {}
        stored = (read_json(self.path / "results.json") or {}).get("metrics", {})
        metrics |= stored if isinstance(stored, dict) else {}
        values = {split: metrics.get(f"{split}/accuracy") for split in ("train", "val", "test")}
        return {split: 100 * (1 - value) for split, value in values.items() if isinstance(value, float | int)}


def read_cases(patterns: Iterable[str], *, required: bool = True) -> tuple[list[Case], list[tuple[Path, str]]]:
    """Return the runs of networks that can be plain, by depth, and those that cannot be read, with the reason.

    Raises UserError where runs are ``required`` and there are none.
    """
    patterns = list(patterns)
    found: list[Case] = []
    left_out: list[tuple[Path, str]] = []
    directories = sorted(find_run_directories(patterns))
    if required and not directories:
        raise UserError(f"runs={','.join(patterns)}: no run is there, and none below it")
    for path in directories:
        try:
            case = Case(path, read_config(path / "config.yaml"), read_metrics(path / "metrics.csv"))
            if case.setting("model.shortcut") in ("A", "B", "C", "none") and case.setting("model.depth").isdecimal():
                assert isinstance(case.command, str) and isinstance(case.final, dict)  # read now, or be left out
                found.append(case)
        except UserError as error:
            left_out.append((path, str(error)))
    return sorted(found, key=lambda case: (case.residual, case.depth, natural_sort_key(str(case.path)))), left_out


def choose_comparable(cases: Sequence[Case]) -> list[Case]:
    """Return the runs of the one setting that has most networks of both kinds."""
    groups: dict[Key, list[Case]] = {}
    for case in cases:
        if case.rows:
            groups.setdefault(case.key, []).append(case)

    def count(several: Sequence[Case]) -> tuple[int, int]:
        plain, residual = ({case.depth for case in several if case.residual is kind} for kind in (False, True))
        return min(len(plain), len(residual)), len(several)

    return max(groups.values(), key=count, default=[])
