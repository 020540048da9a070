"""Add to runs what their configurations tell: the settings that tell them apart, early verdicts, a table over seeds.

Reading configurations takes longer than all else, so it is done a little at each look, and the page is there before.
"""

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import UserError
from ..files import Json
from ..report.defaults import find_nested, select_settings
from ..report.early import Band, choose_metric, count_early_epochs, identify_recipe, predict_final
from ..report.groups import format_settings, shorten_names
from ..report.result import make_legible, read_config
from .folder import FILES, Folder, Seen

BUDGET = 0.3  # seconds of a look for configurations
MOST_ROWS = 300  # of the table
Kin: TypeAlias = tuple[str, str]  # a data set and a network


@dataclass(frozen=True)
class Told:
    """What a configuration tells: a text that the seeds of one recipe share, its metric, epochs and settings."""

    recipe: str = ""
    metric: str = ""
    epochs: int = 0
    settings: Mapping[str, object] | None = None


class Sweeps:
    """The configurations of a folder's runs, read once each."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.told: dict[str, tuple[object, Told]] = {}  # by id, with the stamp of the file
        self.bands: dict[str, tuple[object, Band | None]] = {}  # by id, with what they were made from

    def look(self) -> bool:
        """Read configurations until the time is up, and tell the folder; return whether all are read."""
        began, complete = time.monotonic(), True
        with self.folder.lock:
            everything = dict(self.folder.seen)
            for number, seen in everything.items():
                stamp = get_config_stamp(seen)
                if number in self.told and self.told[number][0] == stamp:
                    continue
                if time.monotonic() - began > BUDGET:
                    complete = False
                    break
                self.told[number] = (stamp, read_told(seen))
            for known in (self.told, self.bands):
                for number in [number for number in known if number not in everything]:
                    del known[number]
            varying = self._find_varying(everything)
            for number, seen in everything.items():
                if number in self.told:
                    self.folder.update(number, self._describe(number, seen, everything, varying))
        return complete

    def _find_varying(self, everything: Mapping[str, Seen]) -> dict[Kin, set[str]]:
        """Return the names of the settings in which the runs of a network on a data set differ."""
        values: dict[Kin, dict[str, list[str]]] = {}
        counts: Counter[Kin] = Counter()
        for number, seen in everything.items():
            if (settings := self._get_settings(number)) is not None:
                kin = find_kin(seen)
                counts[kin] += 1
                for name, value in settings.items():
                    values.setdefault(kin, {}).setdefault(name, []).append(repr(value))
        return {
            kin: {name for name, found in own.items() if len(set(found)) > 1 or len(found) < counts[kin]}
            for kin, own in values.items()
        }

    def _get_settings(self, number: str) -> Mapping[str, object] | None:
        return self.told[number][1].settings if number in self.told else None

    def _describe(
        self, number: str, seen: Seen, everything: Mapping[str, Seen], varying: Mapping[Kin, set[str]]
    ) -> Json:
        settings = self._get_settings(number) or {}
        differing = {name: settings[name] for name in settings if name in varying.get(find_kin(seen), ())}
        band = self._find_band(number, seen, everything) if seen.run.state in ("running", "stopped") else None
        early = {"low": band.low, "high": band.high, "n": band.n} if band else None
        return {"settings": write_settings(settings), "differing": write_settings(differing), "early": early}

    def _find_band(self, number: str, seen: Seen, everything: Mapping[str, Seen]) -> Band | None:
        """Return where a run is foretold to end; made anew only where other runs of its recipe have finished."""
        told = self.told[number][1]
        if not told.recipe or not 0 < count_early_epochs(told.epochs) <= len(seen.rows):
            return None
        finished = [
            each
            for other, each in everything.items()
            if each.run.state == "finished" and other in self.told and self.told[other][1].recipe == told.recipe
        ]
        made_from = (told, len(finished), sum(each.version for each in finished))
        if number not in self.bands or self.bands[number][0] != made_from:
            curves = [each.rows for each in finished]
            band = predict_final(curves, seen.rows, epochs=told.epochs, metric=told.metric)
            self.bands[number] = (made_from, band)
        return self.bands[number][1]

    def tabulate(self) -> list[Json]:
        """Return the rows of the table: runs that differ in their seeds only, by data set."""
        with self.folder.lock:
            groups: dict[tuple[Kin, str, int], list[Seen]] = {}
            for number, seen in self.folder.seen.items():
                if (settings := self._get_settings(number)) is not None:
                    told = self.told[number][1]
                    key = (find_kin(seen), repr(sorted(map(str, settings.items()))), told.epochs)
                    groups.setdefault(key, []).append(seen)
        rows = [make_row(members, epochs) for (_, _, epochs), members in groups.items()]
        rows.sort(key=lambda row: (row["data"], row["metric"], -(row["val"] or 0)))
        return rows[:MOST_ROWS]


def find_kin(seen: Seen) -> Kin:
    """Return the data set and the network of a run."""
    return seen.run.data, seen.run.model


def write_settings(settings: Mapping[str, object]) -> str:
    """Write settings as they are typed, by short names."""
    return make_legible(" ".join(format_settings(shorten_names(settings))))[:400]


def get_config_stamp(seen: Seen) -> object:
    """Return the part of a run's stamp that is of its configuration."""
    stamp = seen.stamp
    return stamp[FILES.index("config.yaml")] if isinstance(stamp, tuple) else None


def read_told(seen: Seen) -> Told:
    """Read what a run's configuration tells; nothing where it cannot be read."""
    if seen.run.state == "damaged":
        return Told()
    try:
        config = read_config(seen.path / "config.yaml")
        model, epochs = str(find_nested(config, "model.name")), find_nested(config, "trainer.max_epochs")
        if not config or not isinstance(epochs, int):
            return Told()
        return Told(identify_recipe(config), choose_metric(config), epochs, select_settings(config, model))
    except (UserError, LookupError, ValueError, TypeError, AttributeError):  # of another version, or of others
        return Told()


def make_row(members: Sequence[Seen], epochs: int) -> Json:
    """Make a row of the table from the runs of a group."""
    ended = [seen for seen in members if seen.run.state in ("finished", "untested")]
    states = [seen.run.state for seen in members]
    first = next((seen for seen in members if seen.entry["metric"]), members[0]).entry
    row: Json = {name: first[name] for name in ("data", "model", "metric")}
    row |= {"settings": members[0].extra.get("differing", ""), "epochs": epochs}
    row |= {"ended": len(ended), "runs": len(members), "running": states.count("running")}
    row |= {"lost": states.count("failed") + states.count("stopped")}
    for name, source in {"val": "now", "test": "test"}.items():
        values = [value for seen in ended if (value := seen.entry[source]) is not None]
        row |= {name: statistics.fmean(values) if values else None}
        row |= {f"{name}_sd": statistics.stdev(values) if len(values) > 1 else None}
    return row
