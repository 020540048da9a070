"""Processes that read batches."""

import multiprocessing
import os
import signal

import numpy as np
import torch

from src.data.loading import stream


def test_signals_to_all_processes_leave_the_readers_at_work() -> None:
    """SLURM sends SIGTERM to every process of a job; the training one wants to come to the end of its step."""
    batches = [np.array([number]) for number in range(12)]
    read = stream(lambda numbers: torch.from_numpy(numbers), batches, workers=1, device=torch.device("cpu"))
    seen = [int(next(read))]
    (reader,) = multiprocessing.active_children()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        os.kill(reader.pid or 0, number)
    assert seen + [int(batch) for batch in read] == list(range(12))
