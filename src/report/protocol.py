"""Compare how a run was trained with how a study's runs were: every setting that makes a result, and who says so.

The protocol is the study's experiment: a setting has the value that conf/experiment/<study>.yaml composes to for the
network and data set of a row. A difference in what the study, or another source, states makes a run not comparable;
a difference in what is ours is listed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache

import yaml

from ..cli.compose import CONF, compose_run
from ..config.model import ModelConfig
from ..runs.identity import to_plain
from ..zoo.registry import row, rows
from .defaults import Anything, find_nested, find_row_name, flatten, format_value, list_default_settings
from .result import LIMITS, Result
from .schema import Value

Conditions = dict[str, Value]


STATED, ELSEWHERE, OURS = "stated", "elsewhere", "ours"


WEIGHTS = "model.weights"  # no part of the identity by its name, but what a run starts from


IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "fashion_mnist": 60_000, "imagenet": 1_281_167, "coco": 118_287}


TOLERANCE = 0.02  # of the images: some leave out photos without annotations


NARROWED = (*LIMITS, "data.limit_train")  # with these, a run is about less than the data set that the row names


FILLED_IN = ("seed", "model.weights_sha256", "plugins_sha256", "trainer.devices", "trainer.precision")


BASICS = {
    "data.batch_size",
    "data.val_fraction",
    "data.normalize",
    "optim.name",
    "optim.lr",
    "protocol",
}  # always shown


SPECIFIC = ("model.name", "model.family", "data.name", "task.name")  # the cell's own


@dataclass(frozen=True)
class Protocol:
    """How the published runs were trained, and who says so; what nobody says is ours.

    A setting has the value that the study's experiment gives it, or the recipe of the data set where there is no such
    experiment, under the `settings` here. `stated` names the settings, or groups of them ("optim"), that the study
    itself states, and `elsewhere` those that another source does, with that source. `images` counts the training
    images of the set before any is held out, where it is not the set that everybody means.
    """

    experiment: str = ""
    settings: Conditions = field(default_factory=dict)
    stated: list[str] = field(default_factory=list)
    elsewhere: dict[str, str] = field(default_factory=dict)
    images: int | None = None

    def add(self, settings: Conditions) -> "Protocol":
        """Return the protocol under these further settings."""
        return replace(self, settings=self.settings | settings) if settings else self

    def merge(self, more: "Protocol") -> "Protocol":
        """Return a file's protocol with what a table adds to it."""
        return replace(
            self,
            settings=self.settings | more.settings,
            stated=[*self.stated, *more.stated],
            elsewhere=self.elsewhere | more.elsewhere,
            images=more.images or self.images,
        )

    def attribute(self, name: str) -> tuple[str, str]:
        """Tell who says what a setting is: stated, elsewhere or ours, and the source of the second.

        The most specific entry counts. That a row is about its network and its whole data set is stated by its name.
        """
        if name in NARROWED or (name.startswith("model.") and name != WEIGHTS):
            return STATED, ""
        found = [entry for entry in (*self.stated, *self.elsewhere) if name == entry or name.startswith(f"{entry}.")]
        entry = max(found, key=len, default="")
        return (OURS, "") if not entry else (STATED, "") if entry in self.stated else (ELSEWHERE, self.elsewhere[entry])


@dataclass(frozen=True)
class Setting:
    """A setting of the protocol: its value as it is typed, and who says so."""

    name: str
    value: str
    by: str
    source: str = ""


@dataclass(frozen=True)
class Difference:
    """A setting in which a run differs from the protocol: its value and the protocol's, and who says the latter."""

    name: str
    have: str
    want: Setting
    shorter: bool = False  # a training of fewer epochs than the protocol's, whoever chose these

    @property
    def decisive(self) -> bool:
        """Tell whether the run is not comparable for this."""
        return self.want.by != OURS or self.shorter

    def __str__(self) -> str:
        if self.name == "images":
            return f"{self.have} training images, of {self.want.value}"
        epochs = f"{self.have} epoch{'' if self.have == '1' else 's'}"
        have = epochs if self.name == "trainer.max_epochs" else f"{self.name}={self.have}"
        return f"{have} ({self.want.source or self.want.by}: {self.want.value})"


def list_differences(protocol: Protocol, match: Conditions, run: Result) -> list[Difference]:
    """List the settings in which a run differs from the protocol of the cell that it fits, decisive ones first.

    Without a config.yaml, only the facts of results.json can be compared.
    """
    want = compose_settings(protocol, match)
    have = list_settings(run)
    names = dict.fromkeys([*want, *have] if run.config else have)
    defaults = list_default_settings(find_row_name(run.config, run.model))
    found = []
    for name in names:
        default = defaults.get(name)
        ours, theirs = have.get(name, default), want.get(name, default)
        if ours != theirs and theirs != "auto":
            shorter = name == "trainer.max_epochs" and run.epochs < int(str(theirs))
            found.append(Difference(name, format_value(ours), make_setting(protocol, name, theirs), shorter))
    found += check_images(protocol, run)
    return sorted(found, key=lambda difference: not difference.decisive)


def list_settings(run: Result) -> dict[str, object]:
    """Return every setting of a run that makes its result; what its config.yaml lacks has its default."""
    facts = {"trainer.max_epochs": run.epochs, "protocol": run.content["protocol"]}
    if not run.config:
        return facts
    defaults = list_default_settings(find_row_name(run.config, run.model))
    stored = dict(flatten(run.config))
    weights = {WEIGHTS: stored.get(WEIGHTS)}
    return {name: value for name, value in (defaults | stored).items() if is_compared(name, defaults)} | weights | facts


def is_compared(name: str, defaults: Mapping[str, object]) -> bool:
    """Tell whether a setting makes a result and belongs to no cell; one that today's code does not know is left out."""
    made = name in defaults and not isinstance(defaults[name], Anything)
    return made and name not in FILLED_IN and name not in SPECIFIC


def compose_settings(protocol: Protocol, match: Conditions) -> dict[str, object]:
    """Return every setting that makes the result of a cell's run by the protocol, with each `auto` settled."""
    base, chosen = compose_base(protocol.experiment, *(str(match.get(name, "")) for name in ("data", "task")))
    model = row(str(match["model"])) if "model" in match else chosen
    usual = rows().get(chosen.name, chosen)
    carried = {name: value for name, value in asdict(chosen).items() if value != getattr(usual, name)}
    leaves = dict(base) | {f"model.{name}": value for name, value in (asdict(model) | carried).items()}
    for name, value in (protocol.settings | {name: match[name] for name in match if "." in name}).items():
        leaves[name] = yaml.safe_load(value) if isinstance(value, str) else value
    if leaves["optim.warmup"] is None:  # as src.training.settle does
        leaves["optim.warmup"] = 0.0 if leaves["optim.schedule"] == "plateau" else model.warmup
    if leaves["data.normalize"] == "auto" and leaves["model.weights"] is None:
        leaves["data.normalize"] = "dataset"
    defaults = list_default_settings(model.name if model.name in rows() else model.family)
    return {name: value for name, value in leaves.items() if name == WEIGHTS or is_compared(name, defaults)}


@lru_cache
def compose_base(experiment: str, data: str, task: str) -> tuple[Mapping[str, object], ModelConfig]:
    """Compose an experiment, or where there is none the recipe of a data set; return its settings and its network.

    Composing takes a tenth of a second, so the networks of a table share one configuration.
    """
    words = [f"{group}={name}" for group, name in (("data", data), ("task", task)) if name]
    if (CONF / "experiment" / f"{experiment}.yaml").exists():
        words.insert(0, f"experiment={experiment}")
    config = compose_run(*words, brings=False)  # a row has the settings of its own network
    leaves = dict(flatten(to_plain(config)))
    return {name: value for name, value in leaves.items() if not name.startswith("model.")}, config.model


def make_setting(protocol: Protocol, name: str, value: object) -> Setting:
    """Make a setting of the protocol, with who says so."""
    return Setting(name, format_value(value), *protocol.attribute(name))


def check_images(protocol: Protocol, run: Result) -> Iterator[Difference]:
    """Yield a difference where a run that was to see its whole data set had fewer or more images than that has."""
    narrowed = any(find_nested(run.config, name) is not None for name in NARROWED)
    held_out, expected = run.content.get("n_val"), protocol.images or IMAGES.get(str(run.content["data"]))
    if narrowed or expected is None or not isinstance(held_out, int):
        return
    found = run.n_train + held_out
    if abs(found - expected) > TOLERANCE * expected:
        yield Difference("images", f"{found:,}", Setting("images", f"{expected:,}", STATED))


def list_protocol(protocol: Protocol, match: Conditions) -> list[Setting]:
    """List the settings of a cell's run that tell a reader what it is: the basic, the named and the unusual ones."""
    want, named = compose_settings(protocol, match), BASICS.union(protocol.stated, protocol.elsewhere)
    defaults = dict(list_default_settings("")) | {WEIGHTS: None}
    shown = [name for name in want if name in defaults and name not in NARROWED]
    shown = [name for name in shown if (name in named and want[name] is not None) or want[name] != defaults[name]]
    return [make_setting(protocol, name, want[name]) for name in shown]
