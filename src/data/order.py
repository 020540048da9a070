"""Derive the order of an epoch and its random numbers from the seed alone, and slice batches for the ranks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

SAMPLE, BATCH = 1, 2  # the kinds of things that have random numbers of their own


def derive_seed(seed: int, epoch: int, kind: int, number: int) -> np.random.SeedSequence:
    """Return the root of the random numbers of one sample or one batch (``kind``) of an epoch."""
    return np.random.SeedSequence([seed, epoch], spawn_key=(kind, number))


@contextmanager
def fix_random_state(entropy: np.random.SeedSequence) -> Iterator[None]:
    """Seed torch's CPU generator from ``entropy`` inside the block, and restore its state afterwards."""
    generator = torch.default_generator  # torch.manual_seed would also seed a GPU's
    before = generator.get_state()
    generator.manual_seed(int(entropy.generate_state(1)[0]))
    try:
        yield
    finally:
        generator.set_state(before)


def draw_order(seed: int, epoch: int, n: int, weights: torch.Tensor | None = None) -> NDArray[np.int64]:
    """Draw the order [n] of the training samples of an epoch; by ``weights`` [n], with replacement."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
    if weights is not None:
        return torch.multinomial(weights, n, replacement=True, generator=generator).numpy()
    return torch.randperm(n, generator=generator).numpy()


def weigh_samples(labels: NDArray[np.int64]) -> torch.Tensor:
    """Return weights float64 [N] by which each class that occurs is drawn equally often."""
    counts = np.bincount(labels)
    return torch.from_numpy(1.0 / counts[labels])


def slice_batches(n: int, batch_size: int, *, rank: int, world: int) -> list[tuple[int, int]]:
    """Return a rank's slice (first, stop) of each batch of n samples, without padding and without empty slices.

    No sample is in two slices. A batch is large enough to give each rank a sample: Lightning lets a rank without any
    batch go on at once, and the others would wait for it.
    """
    batch_size = max(batch_size, world)
    batches = [(first, min(batch_size, n - first)) for first in range(0, n, batch_size)]
    parts = [(first + size * rank // world, first + size * (rank + 1) // world) for first, size in batches]
    return [(first, stop) for first, stop in parts if first < stop]


class Resumable:
    """Remember where an epoch's loader stands, by Lightning's protocol for stateful loaders."""

    def __init__(self, epoch: int, trained: Callable[[], int] | None = None) -> None:
        """``trained`` returns how many micro-batches of the epoch the weights have seen, where a Trainer knows."""
        self.epoch = epoch
        self._trained = trained
        self._start = self._yielded = 0

    def __len__(self) -> int:
        raise NotImplementedError

    def remaining(self) -> range:
        """Return the numbers of this pass' micro-batches; only the first pass after a resume is shortened."""
        start, self._start = self._start, 0
        return range(start, len(self))

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of trained micro-batches; one that is only fetched does not count."""
        trained = self._yielded if self._trained is None else min(self._yielded, self._trained())
        return {"epoch": self.epoch, "batch": trained}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the micro-batches of ``state``, unless it belongs to another epoch."""
        self._start = self._yielded = state["batch"] if state["epoch"] == self.epoch else 0
