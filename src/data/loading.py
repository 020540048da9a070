"""Batches that worker processes read: their order and chance, their way to the device, and resuming inside an epoch.

The order and every random choice follow from (seed, epoch) and the sample's or the batch's number alone, so that the
number of workers, the number of ranks and a resume change nothing.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from src.errors import UserError

SAMPLE, BATCH = 1, 2  # what a stream of random numbers belongs to


def sequence(seed: int, epoch: int, kind: int, number: int) -> np.random.SeedSequence:
    """The root of the random numbers of one sample or one batch of an epoch."""
    return np.random.SeedSequence([seed, epoch], spawn_key=(kind, number))


@contextmanager
def chance(entropy: np.random.SeedSequence) -> Iterator[None]:
    """Let torch's CPU generator follow from this for a while; then it goes on as if nothing had been drawn."""
    generator = torch.default_generator  # torch.manual_seed would also seed a GPU's
    before = generator.get_state()
    generator.manual_seed(int(entropy.generate_state(1)[0]))
    try:
        yield
    finally:
        generator.set_state(before)


def epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The order [n] of the training samples of an epoch."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
    return torch.randperm(n, generator=generator).numpy()


def shares(n: int, batch_size: int, *, rank: int, world: int) -> list[tuple[int, int]]:
    """A rank's part (first, stop) of each batch of n samples: none twice, without padding, empty ones left out.

    Batches are large enough to give each rank a sample: Lightning lets a rank without any batch go at once, and the
    others would wait for it.
    """
    batch_size = max(batch_size, world)
    batches = [(first, min(batch_size, n - first)) for first in range(0, n, batch_size)]
    parts = [(first + size * rank // world, first + size * (rank + 1) // world) for first, size in batches]
    return [(first, stop) for first, stop in parts if first < stop]


class Resumable:
    """Where an epoch's loader stands, by Lightning's protocol for stateful loaders."""

    def __init__(self, epoch: int, trained: Callable[[], int] | None = None) -> None:
        """``trained``: how many micro-batches of the epoch the weights have seen, where a Trainer knows."""
        self.epoch = epoch
        self._trained = trained
        self._start = self._yielded = 0

    def __len__(self) -> int:
        raise NotImplementedError

    def remaining(self) -> range:
        """The numbers of this pass' micro-batches; only the first pass after a resume is shortened."""
        start, self._start = self._start, 0
        return range(start, len(self))

    def state_dict(self) -> dict[str, int]:
        """The epoch and how many micro-batches were trained on; one that is only fetched does not count."""
        trained = self._yielded if self._trained is None else min(self._yielded, self._trained())
        return {"epoch": self.epoch, "batch": trained}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the micro-batches of ``state``, unless it speaks of another epoch."""
        self._start = self._yielded = state["batch"] if state["epoch"] == self.epoch else 0


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


def stream(
    read: Callable[[NDArray[np.int64]], Any],
    batches: Sequence[NDArray[np.int64]],
    *,
    workers: int,
    device: torch.device,
) -> Iterator[Any]:
    """What ``read`` makes of each batch of sample numbers, read ahead by worker processes that live for this pass.

    With a GPU the memory is pinned, so that ``onto`` it costs no waiting. Raises the UserError of a sample, and one
    where a worker dies.
    """
    workers = min(workers, len(batches))
    loader = DataLoader(
        Batches(read),
        batch_size=None,
        sampler=batches,  # each element is a batch
        collate_fn=_unchanged,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_undisturbed,
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


def onto(batch: Any, device: torch.device) -> Any:
    """Tensors in tuples, moved to the device without waiting for the copies."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    moved = (onto(part, device) for part in batch)
    return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)


def count_workers(workers: int | None, devices: int) -> int:
    """Reading processes for each training process: as many as asked for, or the cores that training leaves over."""
    if workers is not None:
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, cores // devices - 1)


def _unchanged(batch: Any) -> Any:
    return batch


def _undisturbed(worker: int) -> None:
    """Leave it to the training process to end on a signal that a terminal, or SLURM, sends to all processes at once.

    It goes on reading meanwhile, for the step that is to be saved. SIGTERM ends it later: so one that hangs is ended.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))
    os.setpgid(0, 0)
