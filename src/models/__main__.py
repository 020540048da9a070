"""List the networks, their sizes and where they are from: ``python -m src.models [GLOB…] [--json]``.

With ``--layers`` it lists each layer of the named networks: output shape, parameters, multiply-adds.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase

from ..cli.console import name_commands
from ..cli.main import main
from ..config.model import ModelConfig
from ..errors import UserError
from ..text import describe_unknown
from ..zoo.registry import rows
from .counts import TEN_CLASSES, count_networks


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


def format_layer_tables(selected: Sequence[ModelConfig], classes: int, *, as_json: bool) -> Iterator[str]:
    """Iterate over the lines of a table of layers of each of these rows, or of a JSON object a line."""
    import torch

    from .build import build_classifier
    from .summary import format_layers, summarize_layers, summarize_totals

    for row in selected:
        with torch.device("meta"):
            model = build_classifier(row, in_channels=TEN_CLASSES.channels, num_classes=classes)
        layers = summarize_layers(model, TEN_CLASSES.channels, row.native_size)
        if as_json:
            totals = summarize_totals(layers, model)
            yield json.dumps({"name": row.name, "layers": [asdict(layer) for layer in layers], "totals": totals})
            continue
        pixels = f"{TEN_CLASSES.channels} x {row.native_size} x {row.native_size}"
        yield from [] if row is selected[0] else [""]
        yield from (f"{row.name}: {classes:,} classes, images of {pixels}", "")
        yield from format_layers(layers, model)


def read_count(text: str) -> int:
    """Return a number of classes from the command line; UserError for none."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise UserError(f"--classes {text}: type a whole number from 1 to 100000")
    return int(text)


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
    parser.add_argument("--layers", action="store_true", help="list each layer: output, parameters, multiply-adds")
    parser.add_argument("--classes", metavar="N", default="", help="with --layers: how many classes (default: 10)")
    parser.error = refuse  # type: ignore[method-assign,assignment]
    options = parser.parse_args()
    selected = select_rows(options.globs)
    if options.layers and not options.globs:
        raise UserError("--layers: name a network, as in python -m src.models resnet50 --layers")
    if options.classes and not options.layers:
        raise UserError(f"--classes {options.classes}: goes with --layers; the list is for ten classes")
    if options.layers:
        lines = format_layer_tables(selected, read_count(options.classes or "10"), as_json=options.json)
    else:
        lines = (format_json if options.json else format_table)(selected)
    for line in lines:
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    main(list_models)
