"""Pool runs over seeds, and find the groups that can be compared with one another.

Runs form one group where everything that makes a result is equal except the seed. The label of a group names as few
settings as are needed to distinguish it from similar groups.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import UserError
from ..runs.identity import compute_code_hash
from ..tasks.table import find_headline
from ..text import natural_sort_key
from .defaults import find_nested, find_row_name, format_settings, format_value, list_default_settings, shorten_names
from .lost import LostRun, describe_left_out, read_lost
from .result import Result, find_run_directories, read_result


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed, in its order.

    `differing_settings` are those that not all groups of the same model, data and task share; `label_settings` are as
    few of them as distinguish the group from the others. `lost` are the runs that failed.
    """

    runs: Sequence[Result]
    differing_settings: Mapping[str, object] = field(default_factory=dict)
    label_settings: Mapping[str, object] = field(default_factory=dict)
    lost: Sequence[LostRun] = ()

    @property
    def model(self) -> str:
        return self.runs[0].model

    @property
    def data(self) -> str:
        return str(self.runs[0].content["data"])

    @property
    def title(self) -> str:
        """The data set's name for people; two sets of one's own have the same name, folder, but not the same title."""
        return str(self.runs[0].content.get("data_title") or self.data)

    @property
    def task(self) -> str:
        return str(self.runs[0].content["task"])

    @property
    def protocol(self) -> str:
        return str(self.runs[0].content["protocol"])

    @property
    def epochs(self) -> int:
        return self.runs[0].epochs

    @property
    def n_train(self) -> int:
        return self.runs[0].n_train

    @property
    def data_fingerprint(self) -> str:
        return str(self.runs[0].content.get("data_fingerprint"))

    @property
    def n(self) -> int:
        return len(self.runs)

    @property
    def started(self) -> int:
        """The number of seeds that finished or failed."""
        return self.n + len(self.lost)

    @property
    def looks(self) -> list[int]:
        """After how many seeds seed=auto was to look at the verdicts; [] where the seeds were chosen beforehand."""
        found = (find_nested(run.config, "looks") for run in self.runs)
        return next(([n for n in looks if isinstance(n, int)] for looks in found if isinstance(looks, list)), [])

    @property
    def least_gain(self) -> float:
        """The fraction by which a further seed had to narrow an interval, for seed=auto."""
        found = find_nested(self.runs[0].config, "least_gain")
        return float(found) if isinstance(found, int | float) else 0.1

    def count(self, metric: str) -> str:
        """Write how many runs have a number, as in 3, or 3 of 5 where others were started."""
        n = len(self.values(metric))
        return str(n) if n == self.started else f"{n} of {self.started}"

    @property
    def settings(self) -> dict[str, object]:
        return self.runs[0].settings

    @property
    def stale(self) -> int:
        """The number of runs that were made by other code than today's."""
        return sum(run.stale for run in self.runs)

    @property
    def headline(self) -> str:
        """The metric that the group is judged by: error for classes, average precision for the other tasks."""
        return find_headline(self.task)

    @property
    def depth(self) -> float | None:
        return self.runs[0].depth

    @property
    def label(self) -> str:
        """The model and the settings that distinguish the group from similar ones, by short names."""
        return " ".join([self.model, *format_settings(shorten_names(self.label_settings))])

    def setting(self, name: str) -> object:
        """Return a setting by its dotted name, or its default; ... where neither is known."""
        config = self.runs[0].config
        defaults = list_default_settings(find_row_name(config, self.model)) if config else {}
        return self.settings.get(name, defaults.get(name, ...))

    def values(self, metric: str) -> list[float]:
        """Return the number of each run that has it."""
        return [value for run in self.runs if (value := run.value(metric)) is not None]


@dataclass(frozen=True)
class Collected:
    """The groups that were found, in natural order, and the directories that were left out, each with the reason.

    `lost` are the failed runs of whose configuration no seed has finished.
    """

    groups: Sequence[Group]
    left_out: Sequence[tuple[Path, str]]
    lost: Sequence[LostRun] = ()

    @property
    def runs(self) -> list[Result]:
        return [run for group in self.groups for run in group.runs]


def collect_runs(patterns: Iterable[str]) -> Collected:
    """Read all finished runs at or below the directories that the patterns match; UserError where there is none."""
    found, left_out, lost = [], [], []
    code = compute_code_hash()
    patterns = list(patterns)
    for path in sorted(find_run_directories(patterns), key=lambda p: natural_sort_key(str(p))):
        try:
            found.append(read_result(path, code))
        except UserError as error:
            left_out.append((path, describe_left_out(path, error)))
            lost += [run] if (run := read_lost(path)) else []
    named = ", ".join(patterns)
    if not found and left_out:
        path, reason = left_out[0]
        raise UserError(f"runs={named}: no finished run among {len(left_out)}; the first, {path}: {reason}")
    if not found:
        raise UserError(f"runs={named}: no runs there; python -m src.train makes one, by default below outputs/")
    groups, duplicates = pool_runs(found)
    groups, alone = assign_lost_runs(groups, lost)
    return Collected(groups, left_out + duplicates, alone)


def assign_lost_runs(groups: Sequence[Group], lost: Sequence[LostRun]) -> tuple[list[Group], list[LostRun]]:
    """Give each group the failed runs of its configuration; return the groups, and the failed runs of no group.

    A seed that has finished in another directory is not lost.
    """
    assigned: dict[int, dict[int, LostRun]] = {}
    alone = []
    for run in lost:
        place = next((i for i, group in enumerate(groups) if run.was_meant_for(group.runs[0])), None)
        if place is None:
            alone.append(run)
        elif run.seed not in [own.seed for own in groups[place].runs]:
            assigned.setdefault(place, {}).setdefault(run.seed, run)
    return [replace(group, lost=list(assigned.get(i, {}).values())) for i, group in enumerate(groups)], alone


def pool_runs(found: Iterable[Result]) -> tuple[list[Group], list[tuple[Path, str]]]:
    """Pool runs over seeds; return the groups, and the duplicates with the run that each of them repeats.

    Only one run of each seed counts, and a run of today's code comes before a stale one.
    """
    pools: dict[str, dict[int, Result]] = {}
    duplicates = []
    for run in sorted(found, key=lambda run: run.stale):
        shared = [run.content[key] for key in ("data", "model", "task", "protocol", "epochs", "n_train")]
        key = repr((shared, run.content.get("data_fingerprint"), sorted(run.settings.items())))
        first = pools.setdefault(key, {}).setdefault(run.seed, run)
        if first is not run:
            duplicates.append((run.path, f"the same configuration and seed as {first.path}"))
    groups = [Group([seeds[seed] for seed in sorted(seeds)]) for seeds in pools.values()]
    groups = list(distinguish_groups(groups))
    return sorted(groups, key=lambda g: natural_sort_key(f"{g.title} {g.label} {g.protocol} {g.epochs}")), duplicates


def distinguish_groups(groups: Iterable[Group]) -> Iterator[Group]:
    """Yield each group with the settings that distinguish it from the others of the same model, data and task."""
    similar: dict[tuple[str, str, str], list[Group]] = {}
    for group in groups:
        similar.setdefault((group.title, group.model, group.task), []).append(group)
    for members in similar.values():
        names = dict.fromkeys(name for group in members for name in group.settings)
        settings = [
            {name: value for name in names if (value := group.setting(name)) is not ...}
            | {"data.content": group.data_fingerprint[-10:]}
            for group in members
        ]
        facts: list[dict[str, object]] = [
            {"epochs": group.epochs, "n_train": group.n_train, "protocol": group.protocol} | own
            for group, own in zip(members, settings, strict=True)
        ]
        columns = {
            name: [format_value(each.get(name, ...)) for each in facts]
            for name in dict.fromkeys(name for each in facts for name in each)
        }
        columns = {name: values for name, values in columns.items() if len(set(values)) > 1}
        chosen = choose_columns(columns, len(members))
        for group, own, every in zip(members, settings, facts, strict=True):
            differing = {name: own[name] for name in columns if name in own}
            label = {name: every[name] for name in columns if name in chosen & every.keys()}
            yield replace(group, differing_settings=differing, label_settings=label)


def choose_columns(columns: Mapping[str, Sequence[str]], n_rows: int) -> set[str]:
    """Choose few columns that make every row unique: greedily, by how many rows they distinguish."""
    chosen: set[str] = set()
    known = [""] * n_rows
    while len(set(known)) < n_rows:
        best = max(columns, key=lambda name: len(set(zip(known, columns[name], strict=True))), default=None)
        if best is None or best in chosen:
            break
        chosen.add(best)
        known = [f"{before} {value}" for before, value in zip(known, columns[best], strict=True)]
    return chosen


@dataclass(frozen=True)
class Arena:
    """Groups that can be compared: trained on equally many images of the same data, and tested on the same images."""

    name: str
    title: str
    groups: Sequence[Group]


def build_arenas(groups: Iterable[Group], *, by_size: bool = True) -> list[Arena]:
    """Sort groups into arenas, the one with most runs first, and label the groups anew within each.

    `by_size` keeps training sets of unequal sizes apart.
    """
    found: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        size = f"{group.n_train:,} training images" if by_size else ""
        content = group.data_fingerprint if by_size else ""  # a limit on the training set may be part of it
        classes = str(group.settings.get("data.classes", ""))
        found.setdefault((group.title, content, group.task, size, group.protocol, classes), []).append(group)
    arenas: list[Arena] = []
    for (data, _, task, size, protocol, classes), members in found.items():
        parts = [data, task if task != "multiclass" else "", size]
        parts += [f"{classes.count(',') + 1} classes" if classes else ""]
        parts += ["best validation epoch" if protocol == "best_val" else ""]
        name = f"{make_slug(data)}-{len(arenas)}"
        arenas.append(Arena(name, " · ".join(filter(None, parts)), list(distinguish_groups(members))))
    return sorted(arenas, key=lambda arena: -sum(group.n for group in arena.groups))


def describe_seeds(groups: Sequence[Group]) -> str:
    """Return "n = 3" or "n = 3 to 5", the number of seeds behind each group."""
    counts = sorted({group.n for group in groups})
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"


def make_slug(text: str) -> str:
    """Turn a text into a part of a file's name."""
    return "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in text.lower())[:60].strip("-")
