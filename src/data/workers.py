"""Read batches ahead of the training, in worker processes."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from ..errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """Carry the sentence of a UserError from a worker process to the training."""

    sentence: str


class Batches(Dataset[T | Problem], Generic[T]):
    """Read a batch from the numbers of its samples.

    ``read`` is sent to the worker processes, so it must pickle. A UserError that it raises comes back as a value, for a
    DataLoader would bury its sentence in the worker's traceback.
    """

    def __init__(self, read: Callable[[NDArray[np.int64]], T]) -> None:
        self.read = read

    def __getitem__(self, numbers: NDArray[np.int64]) -> T | Problem:
        try:
            return self.read(numbers)
        except UserError as error:
            return Problem(str(error))


def read_batches(
    read: Callable[[NDArray[np.int64]], T],
    batches: Sequence[NDArray[np.int64]],
    *,
    workers: int,
    device: torch.device,
) -> Iterator[T]:
    """Yield what ``read`` makes of each batch of sample numbers, read ahead by worker processes of this pass alone.

    With a GPU the memory is pinned, so that the copy to it needs no waiting. Raises the UserError of a sample, and one
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
            f"A process that reads data has died ({str(error).splitlines()[0].rstrip(' .')}). "
            f"Memory, or /dev/shm, may be short; use fewer processes: data.workers={workers // 2}."
        ) from error


def count_workers(workers: int | None, devices: int) -> int:
    """Return the worker processes of each training process: as many as asked for, or the cores left over."""
    if workers is not None:
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, cores // devices - 1)


def _keep(batch: T) -> T:
    return batch


def _ignore_signals(worker: int) -> None:
    """Ignore the signals that a terminal, or SLURM, sends to all processes at once; the training process handles them.

    The worker reads on meanwhile, for the step that is still to be saved. SIGTERM ends it a minute later, so that a
    worker that hangs ends too.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))
    os.setpgid(0, 0)
