"""Worker processes that read batches ahead of the training."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import UserError


@dataclass(frozen=True)
class Problem:
    """What was wrong with a sample."""

    sentence: str


class Batches(Dataset[Any]):
    """Reads a batch from the numbers of its samples.

    ``read`` goes to the worker processes, so it must pickle. A UserError of its comes back as a value: a DataLoader
    would bury its sentence in the worker's traceback.
    """

    def __init__(self, read: Callable[[NDArray[np.int64]], Any]) -> None:
        self.read = read

    def __getitem__(self, numbers: NDArray[np.int64]) -> Any:
        try:
            return self.read(numbers)
        except UserError as error:
            return Problem(str(error))


def read_batches(
    read: Callable[[NDArray[np.int64]], Any],
    batches: Sequence[NDArray[np.int64]],
    *,
    workers: int,
    device: torch.device,
) -> Iterator[Any]:
    """What ``read`` makes of each batch of sample numbers, read ahead by worker processes that live for this pass.

    With a GPU the memory is pinned, so that ``move_to`` it costs no waiting. Raises the UserError of a sample, and one
    where a worker dies.
    """
    workers = min(workers, len(batches))
    loader = DataLoader(
        Batches(read),
        batch_size=None,
        sampler=batches,  # each element is a batch
        collate_fn=_keep,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # else it would take a number from the generator of the run
    )
    try:
        for batch in loader:
            if isinstance(batch, Problem):
                raise UserError(batch.sentence)
            yield batch
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise UserError(
            f"A process that reads data has died ({str(error).splitlines()[0]}) "
            f"Memory, /dev/shm too, may be short: use fewer, data.workers={workers // 2}."
        ) from error


def move_to(batch: Any, device: torch.device) -> Any:
    """Tensors in tuples, moved to the device without waiting for the copies."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    moved = (move_to(part, device) for part in batch)
    return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)


def count_workers(workers: int | None, devices: int) -> int:
    """Reading processes for each training process: as many as asked for, or the cores that training leaves over."""
    if workers is not None:
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, cores // devices - 1)


def _keep(batch: Any) -> Any:
    return batch


def _ignore_signals(worker: int) -> None:
    """Leave it to the training process to end on a signal that a terminal, or SLURM, sends to all processes at once.

    It goes on reading meanwhile, for the step that is to be saved. SIGTERM ends it later: so one that hangs is ended.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))
    os.setpgid(0, 0)
