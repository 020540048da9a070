"""The protocol of a probe: its options, what it computes of a network, and how that is drawn.

A probe is a value, and table.py has all of them. `compute` returns plain rows, which are stored as they are, so that a
figure can be drawn again without the network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...config.fields import setting
from ...data.info import Normalization
from ...errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas
    from torch import Tensor, nn

Row: TypeAlias = Mapping[str, "float | str | None"]  # of a CSV file; None is a number that is not finite
WHOLE = ("",)  # the parts of a probe that is computed at once


class NotApplicableError(UserError):
    """A probe has nothing to say of a network, such as of the shortcuts of a plain one."""


@dataclass(frozen=True)
class Options:
    """The options that every probe has."""

    images: int = setting(256, "images that are looked at, drawn at random from the split")
    split: str = setting("train", "which images", choices=("train", "val", "test"))


O = TypeVar("O", bound=Options)  # noqa: E741


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode, with images [N, C, H, W] and labels on its device.

    At the initialisation, the statistics of its BatchNorm are those of the images. ``loss`` is the task's, of a batch.
    A probe leaves weights, statistics and modes as it found them.
    """

    label: str
    network: "nn.Module"
    images: "Tensor"
    labels: "Tensor"
    loss: Callable[["Tensor", "Tensor"], "Tensor"]
    classes: Sequence[str]
    normalization: Normalization
    single_class: bool  # an image has one class


@dataclass(frozen=True)
class Found:
    """What a probe has computed: the rows of its CSV file, and arrays for its figure."""

    rows: Sequence[Row]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """What a figure is drawn from: a network at a point of its training, and what was found there."""

    label: str
    at: str
    found: Found

    @property
    def title(self) -> str:
        """The network, and the point of its training in words."""
        return f"{self.label}, {describe_point(self.at)}"

    def column(self, name: str, **where: str) -> NDArray[np.float64]:
        """Return the numbers of a column; nan where one is missing. `where` selects rows by their words."""
        rows = [row for row in self.found.rows if all(row[key] == value for key, value in where.items())]
        return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)


@dataclass(frozen=True)
class Probe(Generic[O]):
    """A way to look into a network.

    ``compute`` looks at one part of ``parts``, and ``draw`` draws all networks in one picture. ``suffix`` is
    added to the name for its files.
    """

    name: str
    title: str
    caption: str
    options: type[O]
    compute: Callable[[Subject, O, str], Found]
    draw: Callable[[Sequence[Drawn], O], "Canvas"]
    parts: Callable[[O], Sequence[str]] = lambda options: WHOLE
    suffix: Callable[[O], str] = lambda options: ""

    def name_files(self, options: O) -> str:
        """Return the name of the probe's files, without their endings."""
        return self.name + self.suffix(options)


def describe_point(at: str) -> str:
    """Say which point of a training this is."""
    words = {"init": "at initialisation", "last": "trained", "best": "best epoch"}
    return words.get(at, f"after {at} epoch{'s' * (at != '1')}" if at.isdecimal() else at)


def parse_options(kind: type[O], typed: Mapping[str, str]) -> O:
    """Return the options of a probe with the typed ones among them; raise UserError for a value that is none."""
    given: dict[str, Any] = {}
    for f in fields(kind):
        if f.name not in typed:
            continue
        value, choices = typed[f.name], f.metadata["choices"]
        if choices and value not in choices:
            raise UserError(f"{f.name}={value}: choose one of: {', '.join(choices)}")
        given[f.name] = value if choices else parse_number(f.name, value, f.default)
    return kind(**given)


def parse_number(name: str, value: str, default: object) -> float:
    """Return a typed number of the kind of its default: a whole one, or one above 0; raise UserError for any other."""
    if isinstance(default, int):
        least = min(1, default)
        if not value.isdecimal() or not least <= int(value) <= 10**6:
            raise UserError(f"{name}={value}: a whole number from {least} to a million is needed")
        return int(value)
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < 1e6:
        raise UserError(f"{name}={value}: a number above 0 is needed")
    return number
