"""Mark what a machine cannot run, and skip with a reason what a plain run leaves out: slow tests and those of a GPU."""

import os
import shutil

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: more threads only get into each other's way
    torch.set_num_threads(1)

LEFT_OUT = {"slow": "takes long: run it with -m slow", "gpu": "needs a GPU: run it with -m gpu"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for needed in item.iter_markers("needs"):
            if reason := find_absent(needed.args):
                item.add_marker(pytest.mark.skip(reason=reason))
        if config.option.markexpr:
            continue
        for marker, reason in LEFT_OUT.items():
            if item.get_closest_marker(marker):  # its keywords hold the names of the folders above it, too
                item.add_marker(pytest.mark.skip(reason=reason))


def find_absent(programs: tuple[str, ...]) -> str:
    """Return why a test of these programs is skipped: the first that is absent; "" where all are here.

    A program may have several names: ``needs("chromium|chromium-headless-shell|google-chrome", "zsh")``.
    """
    absent = [names for names in programs if not any(map(shutil.which, names.split("|")))]
    return f"needs {absent[0].replace('|', ' or ')}, which is not installed here" if absent else ""
