"""What the default run leaves out, and says so: tests that take minutes, and those that need a GPU."""

import os

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: more threads only get into each other's way
    torch.set_num_threads(1)

LEFT_OUT = {"slow": "takes long: run it with -m slow", "gpu": "needs a GPU: run it with -m gpu"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.markexpr:
        return
    for item in items:
        for marker, reason in LEFT_OUT.items():
            if item.get_closest_marker(marker):  # its keywords hold the names of the folders above it, too
                item.add_marker(pytest.mark.skip(reason=reason))
