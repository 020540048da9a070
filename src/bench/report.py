"""Format a comparison's table, and record what the figures were measured on."""

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from ..machine import hardware
from ..text import format_table
from .rounds import Record

PEERS = ("torchvision", "torchmetrics", "numpy", "pillow", "pycocotools", "faster-coco-eval", "airbench")


def collect_environment(accelerator: str = "cpu") -> Record:
    """Return versions, machine and commit; the version of what is not installed is None."""
    precision = "bf16" if hardware.has_fast_bf16(accelerator) else "fp32"
    versions = {name: find_version(name) for name in PEERS}
    return hardware.describe_environment(accelerator, precision) | {"cores": os.cpu_count()} | versions


def find_version(name: str) -> str | None:
    """Return a package's version, or None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def format_result(result: Record) -> Iterator[str]:
    """Yield a title, a table of medians, second-best figures and ratios, and the notes."""
    yield f"\n{result['title']}"
    rows = [["", f"median, {result['unit']}", "second best", "ratio", "of second best", "target", ""]]
    for name, median in result["median"].items():
        row = [name, format_figure(median), format_figure(result["second_best"][name])]
        ratio = result["ratios"].get(name)
        if ratio is None:
            row += [""] * 4
        else:
            target, found = ratio["target"], ratio["of_medians"]
            verdict = "" if target is None else "met" if found >= target else "missed"
            row += [f"{found:.3g}", f"{ratio['of_second_best']:.3g}", "" if target is None else f"{target:g}", verdict]
        rows.append(row)
    yield format_table(rows, left=1)
    yield from (f"  {note}" for note in result["notes"])


def format_figure(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
