"""c: the share of the machine's matrix-product peak that a training step reaches."""

import time

import torch

from ..data.raw import Raw
from .images import cifar
from .ours import BATCH, Training
from .rounds import Comparison
from .settings import Settings

SIZES = (1024, 2048, 4096)  # of the matrices whose product shows the peak


FLOPS_A_MAC = 3 * 2  # forward and twice as much backward; a multiplication and an addition


def against_peak(settings: Settings) -> list[Comparison]:
    """c. Arithmetic of the training step, as a share of what matrix products reach on this machine."""
    raw, note = cifar(settings.data_root)
    return [
        share_of_peak(raw, note, "resnet20", settings.images, 0.60),
        share_of_peak(raw, note, "resnet20", settings.images, 0.60, compiled=True),
        share_of_peak(raw, note, "resnet110", max(settings.images // 5 // BATCH, 2) * BATCH, 0.68),
    ]


def share_of_peak(raw: Raw, note: str, model: str, images: int, target: float, *, compiled: bool = False) -> Comparison:
    ours = Training(raw, f"trainer.compile={str(compiled).lower()}", model=model, images=images)
    if compiled:
        ours.epoch()  # compiles
    precision = ours.config.trainer.precision
    work = FLOPS_A_MAC * ours.macs * images / 1e9
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return Comparison(
        f"c. {model}, {precision}{', compiled' * compiled}, the training steps' arithmetic "
        f"({ours.macs / 1e6:.1f} M multiply-adds an image)",
        "GFLOP/s",
        {"training": lambda: work / ours.epoch().steps, "matrix product": lambda: matrix_product(dtype)},
        {"matrix product": target},
        notes=[note],
    )


def matrix_product(dtype: torch.dtype, seconds: float = 0.5) -> float:
    """GFLOP/s of the best of a few products of square matrices, each size repeated for so long."""
    rates = []
    for size in SIZES:
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        a @ b
        count, elapsed, began = 0, 0.0, time.perf_counter()
        while not count or elapsed < seconds:
            a @ b
            count += 1
            elapsed = time.perf_counter() - began
        rates.append(2 * size**3 * count / elapsed / 1e9)
    return max(rates)
