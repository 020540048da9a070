"""The server of forked commands, with the shim that makes their file operations fail: one a worker."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.harness import Fault, Left, Server, train


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    shim = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", shim, source, "-ldl"], check=True)
    server = Server(shim)
    yield server
    server.close()


@pytest.fixture(scope="session")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Left:
    """A run that nothing has disturbed, with its file operations."""
    path = tmp_path_factory.mktemp("whole") / "run"
    done = train(server, path, fault=Fault(path))
    assert done.code == 0, done.told
    return Left(path, done.operations)
