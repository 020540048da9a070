"""Processes that read batches."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from src.data.order import slice_batches
from src.data.workers import read_batches


def test_signals_to_all_processes_leave_the_readers_at_work() -> None:
    """SLURM sends SIGTERM to every process of a job; the training one wants to come to the end of its step."""
    batches = [np.array([number]) for number in range(12)]
    read = read_batches(lambda numbers: torch.from_numpy(numbers), batches, workers=1, device=torch.device("cpu"))
    seen = [int(next(read))]
    (reader,) = multiprocessing.active_children()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        os.kill(reader.pid or 0, number)
    assert seen + [int(batch) for batch in read] == list(range(12))


@pytest.mark.parametrize(("n", "batch_size", "world"), [(5000, 16, 32), (5000, 25, 32), (360, 1, 2), (33, 64, 32)])
def test_every_rank_has_a_batch(n: int, batch_size: int, world: int) -> None:
    """Lightning lets a rank without one go at once, and the others would wait for it."""
    ranks = [slice_batches(n, batch_size, rank=rank, world=world) for rank in range(world)]
    assert all(ranks)
    assert sorted(i for parts in ranks for first, stop in parts for i in range(first, stop)) == list(range(n))
