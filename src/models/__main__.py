"""List the networks, their sizes and where they are from: ``python -m src.models [GLOB…] [--json]``."""

import argparse
import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from ..cli.console import name_commands
from ..cli.main import main
from ..config.model import ModelConfig
from ..data.info import DatasetInfo
from ..errors import UserError
from ..text import describe_unknown
from ..zoo.registry import rows
from .build import build_model

TEN_CLASSES = DatasetInfo(
    name="ten classes",
    classes=tuple("0123456789"),
    channels=3,
    image_size=32,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


def select_rows(globs: Sequence[str]) -> list[ModelConfig]:
    """Return the rows whose names match one of the globs, or all rows; UserError for a glob that matches none."""
    known = rows()
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in known):
            raise UserError(describe_unknown("model", glob, known))
    return [row for name, row in known.items() if not globs or any(fnmatchcase(name, glob) for glob in globs)]


def measure_network(row: ModelConfig) -> tuple[int, int]:
    """Return the parameters and multiply-adds of the row's network for ten classes, at its native size."""
    import torch

    from .complexity import count_macs, count_parameters

    with torch.device("meta"):
        model = build_model(row, TEN_CLASSES)
    return count_parameters(model), count_macs(model, TEN_CLASSES.channels, row.native_size)


def format_table(selected: Sequence[ModelConfig]) -> Iterator[str]:
    """Iterate over the lines of a table of these rows, each as soon as it is measured."""
    head = ["name", "family", "source", "depth", " parameters", " multiply-adds"]
    known = [[row.name, row.family, row.source, str(getattr(row, "depth", ""))] for row in selected]
    widths = [max(map(len, column)) for column in zip(head, *([*cells, "", ""] for cells in known), strict=True)]

    def align(cells: Sequence[str]) -> str:
        sides = (str.ljust,) * 3 + (str.rjust,) * 3
        return "  ".join(side(cell, width) for side, cell, width in zip(sides, cells, widths, strict=True))

    yield align(head)
    yield "-" * len(align(head))
    for row, cells in zip(selected, known, strict=True):
        yield align([*cells, *(f"{size:,}" for size in measure_network(row))])


def format_json(selected: Sequence[ModelConfig]) -> Iterator[str]:
    """Iterate over the lines of a JSON list of these rows, an object a line."""
    yield "["
    for row in selected:
        params, macs = measure_network(row)
        each = {"name": row.name, "params": params, "macs": macs, "family": row.family}
        yield json.dumps(each) + ("," if row is not selected[-1] else "")
    yield "]"


def refuse(message: str) -> None:
    """Raise UserError for what argparse finds wrong."""
    raise UserError(f"{message} (python -m src.models --help)")


def list_models() -> int:
    """Print the networks that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=name_commands("python -m src.models"),
        description="List the registered networks; sizes are for ten classes at the native image size.",
    )
    parser.add_argument("globs", nargs="*", metavar="GLOB", help="names to list, such as 'resnet*_cifar'")
    parser.add_argument("--json", action="store_true", help="print JSON objects: name, params, macs, family")
    parser.error = refuse  # type: ignore[method-assign,assignment]
    options = parser.parse_args()
    selected = select_rows(options.globs)
    for line in (format_json if options.json else format_table)(selected):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    main(list_models)
