"""``python -m src.models [GLOB…] [--json]`` lists the registered networks, their sizes and where they are from."""

import argparse
import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from ..cli.main import main
from ..config.model import ModelConfig
from ..errors import UserError
from ..text import describe_unknown
from ..zoo.registry import rows
from .counts import count_networks


def select_rows(globs: Sequence[str]) -> list[ModelConfig]:
    """Return the rows whose names match one of the globs, or all rows; UserError for a glob that matches none."""
    known = rows()
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in known):
            raise UserError(describe_unknown("model", glob, known))
    return [row for name, row in known.items() if not globs or any(fnmatchcase(name, glob) for glob in globs)]


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
    for cells, sizes in zip(known, count_networks(selected), strict=True):
        yield align([*cells, *(f"{size:,}" for size in sizes)])


def format_json(selected: Sequence[ModelConfig]) -> Iterator[str]:
    """Iterate over the lines of a JSON list of these rows, an object a line."""
    yield "["
    for row, (params, macs) in zip(selected, count_networks(selected), strict=True):
        each = {"name": row.name, "params": params, "macs": macs, "family": row.family}
        yield json.dumps(each) + ("," if row is not selected[-1] else "")
    yield "]"


def list_models() -> int:
    """Print the networks that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m src.models",
        description="List the registered networks; sizes are for ten classes at the native image size.",
    )
    parser.add_argument("globs", nargs="*", metavar="GLOB", help="names to list, such as 'resnet*_cifar'")
    parser.add_argument("--json", action="store_true", help="print JSON objects: name, params, macs, family")
    options = parser.parse_args()
    selected = select_rows(options.globs)
    for line in (format_json if options.json else format_table)(selected):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    main(list_models)
