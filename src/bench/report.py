"""A comparison's table, and what the figures were measured on."""

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..machine import hardware
from ..text import table

PEERS = ("torchvision", "torchmetrics", "numpy", "pillow", "pycocotools", "faster-coco-eval", "airbench")


def environment(accelerator: str = "cpu") -> dict[str, Any]:
    """Versions, machine and commit; what is not installed is None."""
    precision = "bf16" if hardware.good_at_bf16(accelerator) else "fp32"
    versions = {name: installed(name) for name in PEERS}
    return hardware.environment(accelerator, precision) | {"cores": os.cpu_count()} | versions


def installed(name: str) -> str | None:
    """A package's version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def lines(result: dict[str, Any]) -> Iterator[str]:
    """A title, a table of medians, second-best figures and ratios, and the notes."""
    yield f"\n{result['title']}"
    rows = [["", f"median, {result['unit']}", "second best", "ratio", "of second best", "target", ""]]
    for name, median in result["median"].items():
        row = [name, figure(median), figure(result["second_best"][name])]
        ratio = result["ratios"].get(name)
        if ratio is None:
            row += [""] * 4
        else:
            target, found = ratio["target"], ratio["of_medians"]
            verdict = "" if target is None else "met" if found >= target else "missed"
            row += [f"{found:.3g}", f"{ratio['of_second_best']:.3g}", "" if target is None else f"{target:g}", verdict]
        rows.append(row)
    yield table(rows, left=1)
    yield from (f"  {note}" for note in result["notes"])


def figure(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
