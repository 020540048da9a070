"""A rank that ends, fails or is stopped is named to the others; one that ends as it should is not."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from queue import Empty, Queue

import pytest
from helpers import ROOT

from src.machine import heartbeat
from src.machine.heartbeat import Heartbeat

OTHER = """
import sys, time
from src.machine import heartbeat
heartbeat.SILENCE = 4.0
beat = heartbeat.Heartbeat(int(sys.argv[1]), 3, lambda sentence: print(sentence, flush=True))
beat.join("127.0.0.1", int(sys.argv[2]), sys.argv[3])
print("joined", flush=True)
for line in sys.stdin:
    beat.end(line.strip())
"""


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, "Queue[str]", list["subprocess.Popen[str]"]]]:
    """Rank 0, which this process is, by its port, with what it hears, and two others."""
    monkeypatch.setattr(heartbeat, "SILENCE", 4.0)
    heard: Queue[str] = Queue()
    beat = Heartbeat(0, 3, heard.put)
    port, token = beat.listen("127.0.0.1")
    pipe = subprocess.PIPE
    others = [
        subprocess.Popen(
            [sys.executable, "-c", OTHER, str(rank), str(port), token], cwd=ROOT, stdin=pipe, stdout=pipe, text=True
        )
        for rank in (1, 2)
    ]
    try:
        assert [process.stdout.readline() for process in others if process.stdout] == ["joined\n"] * 2
        yield port, heard, others
    finally:
        beat.end()
        beat.process.wait(60)
        for process in others:
            process.kill()
            process.communicate()


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()


def stop(process: "subprocess.Popen[str]") -> None:
    os.kill(process.pid, signal.SIGSTOP)


def fail(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("No space left\n")
    process.stdin.flush()


@pytest.mark.parametrize(
    ("act", "sentence"),
    [(kill, "has ended before the others"), (stop, "silent for 4 s"), (fail, "failed: No space left")],
)
def test_a_lost_rank_is_named(
    ranks: tuple[int, "Queue[str]", list["subprocess.Popen[str]"]],
    act: Callable[["subprocess.Popen[str]"], None],
    sentence: str,
) -> None:
    _, heard, (one, two) = ranks
    time.sleep(2)  # the helpers meet, and name their processes
    act(two)
    told = heard.get(timeout=20)
    assert told.startswith(f"Rank 2 (process {two.pid} on ") and sentence in told
    assert one.stdout is not None and one.stdout.readline().strip() == told  # the third rank hears it from the first


def test_neither_a_rank_that_ends_as_it_should_nor_a_stranger_is_missed(
    ranks: tuple[int, "Queue[str]", list["subprocess.Popen[str]"]],
) -> None:
    port, heard, (one, two) = ranks
    for stranger in (
        b"GET / HTTP/1.0\r\n\r\n",
        b"[1]\n",
        b'{"rank": 1}\n{"token": 3, "failed": "no"}\n',
        '{"token": "é"}\n'.encode(),
        4000 * b"[" + b"\n",
        b"\xff" * 9000,
    ):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(stranger)
    for process in (one, two):
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(0.5)
        process.kill()
    with pytest.raises(Empty):
        heard.get(timeout=3)
