"""Runs commands as forks of a Python that has the libraries: to import them takes longer than most tests train.

Each line of stdin is an order in JSON; its answer is two lines, the fork's process id and then its exit code.
"""

import json
import os
import runpy
import sys
from importlib import import_module
from typing import Any

LIBRARIES = ("hydra", "lightning.pytorch", "torchvision")


def next_order() -> dict[str, Any]:
    """Returns in a fork, once for each order; the server itself ends with its stdin."""
    for line in sys.stdin:
        if not (child := os.fork()):
            order: dict[str, Any] = json.loads(line)
            return order
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def become(order: dict[str, Any]) -> None:
    """Take the streams, the environment and the words of a command."""
    for number, name in enumerate((os.devnull, order["stdout"], order["stderr"])):
        os.dup2(os.open(name, os.O_RDWR), number)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[1:] = order["words"]
    sys.path[0] = os.getcwd()  # as `python -m` has it


if __name__ == "__main__":
    for library in LIBRARIES:
        import_module(library)
    order = next_order()
    become(order)
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
