"""The order of an epoch and its random numbers, as pure functions of the seed; ranks take their slices."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

SAMPLE, BATCH = 1, 2  # what a stream of random numbers belongs to


def derive_seed(seed: int, epoch: int, kind: int, number: int) -> np.random.SeedSequence:
    """The root of the random numbers of one sample or one batch of an epoch."""
    return np.random.SeedSequence([seed, epoch], spawn_key=(kind, number))


@contextmanager
def fix_random_state(entropy: np.random.SeedSequence) -> Iterator[None]:
    """Let torch's CPU generator follow from this for a while; then it goes on as if nothing had been drawn."""
    generator = torch.default_generator  # torch.manual_seed would also seed a GPU's
    before = generator.get_state()
    generator.manual_seed(int(entropy.generate_state(1)[0]))
    try:
        yield
    finally:
        generator.set_state(before)


def draw_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The order [n] of the training samples of an epoch."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
    return torch.randperm(n, generator=generator).numpy()


def slice_batches(n: int, batch_size: int, *, rank: int, world: int) -> list[tuple[int, int]]:
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
