"""Compare c: the fraction of the machine's matrix-product peak that a training step reaches."""

import time

import torch

from ..data.raw import Raw
from .images import load_cifar
from .ours import BATCH, Training
from .rounds import Comparison
from .settings import Settings

SIZES = (1024, 2048, 4096)  # of the matrices whose product shows the peak


FLOPS_A_MAC = 3 * 2  # forward and twice as much backward; a multiplication and an addition


def compare_with_peak(settings: Settings) -> list[Comparison]:
    """c. Compare the training step's arithmetic with what matrix products reach on this machine."""
    raw, note = load_cifar(settings.data_root)
    return [
        compare_net_with_peak(raw, note, "resnet20", settings.images, 0.60),
        compare_net_with_peak(raw, note, "resnet20", settings.images, 0.60, compiled=True),
        compare_net_with_peak(raw, note, "resnet110", max(settings.images // 5 // BATCH, 2) * BATCH, 0.68),
    ]


def compare_net_with_peak(
    raw: Raw, note: str, model: str, images: int, target: float, *, compiled: bool = False
) -> Comparison:
    """Compare the GFLOP/s of one network's training steps, eager or compiled, with the peak."""
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
        {"training": lambda: work / ours.epoch().steps, "matrix product": lambda: measure_matrix_product(dtype)},
        {"matrix product": target},
        notes=[note],
    )


def measure_matrix_product(dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Return the GFLOP/s of the best of a few products of square matrices, each size repeated for so long."""
    throughputs = []
    for size in SIZES:
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        a @ b
        count, elapsed, began = 0, 0.0, time.perf_counter()
        while not count or elapsed < seconds:
            a @ b
            count += 1
            elapsed = time.perf_counter() - began
        throughputs.append(2 * size**3 * count / elapsed / 1e9)
    return max(throughputs)
