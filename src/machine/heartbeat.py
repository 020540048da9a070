"""Notice a process of a run that has ended, is stopped or was cut off; the others would wait for it for ever.

Each rank has a helper, which is this file run as a script. Once a second the helpers beat: each to that of rank 0, and
that one to all. A helper is a process of its own, because a rank may hold Python's lock for longer than it may be
silent. It does not beat for a rank that is stopped, and it ends with its rank.
"""

import contextlib
import hmac
import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEAT = 1.0  # seconds between two beats
SILENCE = 20.0  # seconds without a beat after which a rank is given up
FAILED = "has failed:"  # of a rank that says so itself
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Heartbeat:
    """The helper of this rank, as the rank sees it."""

    def __init__(self, rank: int, world: int, on_loss: Callable[[str], object]) -> None:
        """Start the helper; `on_loss` is called, in a thread, with a sentence that names the lost rank."""
        self.rank, self.world, self.on_loss = rank, world, on_loss
        self.ending = False
        self.thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def listen(self, address: str) -> tuple[int, str]:
        """Have rank 0's helper wait for the others; return its port, and the word by which it knows them."""
        token = secrets.token_hex(16)
        self._order(address=address, token=token)
        assert self.process.stdout is not None
        port = int(self.process.stdout.readline())
        self.thread.start()
        return port, token

    def join(self, address: str, port: int, token: str) -> None:
        """Have the helper of another rank beat to that of rank 0."""
        self._order(address=address, port=port, token=token)
        self.thread.start()

    def wait_for_loss(self) -> None:
        """Wait as long as it takes to hear of a rank that has just ended."""
        self.thread.join(3 * BEAT)

    def _watch(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as told:
            sentence = told.readline().strip()
        if sentence and FAILED in sentence and not self.ending:
            time.sleep(BEAT)  # this rank may fail for the same reason, and be about to say so itself
        if sentence and not self.ending:
            self.on_loss(sentence)

    def end(self, reason: str = "") -> None:
        """End the helper; with a reason, this rank has failed, and the others are told why."""
        if self.ending:
            return
        self.ending = True
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, subprocess.TimeoutExpired), self.process.stdin:
            self._order(reason=reason)
            self.process.wait(BEAT)
        self.thread.join(BEAT)

    def _order(self, **order: object) -> None:
        assert self.process.stdin is not None
        order |= {"rank": self.rank, "world": self.world, "parent": os.getpid(), "silence": SILENCE}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()


@dataclass
class Peer:
    """Another rank, as a helper sees it."""

    heard: float  # seconds of the monotonic clock
    name: str = ""
    connection: socket.socket | None = None
    ended: bool = False


class Helper:
    """Beat for one rank, and tell it of the first other one that is lost."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.rank, self.token = order["rank"], order["token"]
        self.parent, self.silence = order["parent"], order["silence"]
        self.name = f"process {self.parent} on {socket.gethostname()}"
        joined = time.monotonic() + self.silence  # at the latest: a busy machine may be slow to start the helpers
        self.peers = {rank: Peer(joined) for rank in ([0] if self.rank else range(1, order["world"]))}
        self.unread: dict[socket.socket, bytes] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(ORDERS, selectors.EVENT_READ)
        if self.rank:
            self.connect(order["address"], order["port"])
        else:
            self.listener = open_listener(order["address"])
            self.selector.register(self.listener, selectors.EVENT_READ)
            print(self.listener.getsockname()[1], flush=True)

    def connect(self, address: str, port: int) -> None:
        """Connect to rank 0's helper."""
        try:
            connection = socket.create_connection((address, port), timeout=self.silence)
        except OSError as error:
            self.lose(0, f"cannot be reached at {address}:{port} ({error})")
        self.peers[0].connection = connection
        self.receive_from(connection)
        self.send(connection, {"rank": self.rank, "token": self.token, "name": self.name})

    def receive_from(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.unread[connection] = b""
        self.selector.register(connection, selectors.EVENT_READ)

    def run(self) -> None:
        """Beat and listen until this rank ends, or another is lost."""
        next_beat = 0.0
        while True:
            waited_since = time.monotonic()
            ready = self.selector.select(max(0.0, next_beat - waited_since))
            now = time.monotonic()
            if now - waited_since > 5 * BEAT:  # we were stopped ourselves, or the machine slept
                for peer in self.peers.values():
                    peer.heard = now
            for key, _ in ready:
                self.read(key.fileobj)
            if now >= next_beat:
                next_beat = now + BEAT
                self.beat()
            for rank, peer in self.peers.items():
                if not peer.ended and now - peer.heard > self.silence:
                    self.lose(rank, f"has been silent for {self.silence:.0f} s: it is stopped or cut off")

    def beat(self) -> None:
        """Beat unless this rank is stopped; end where it has ended."""
        if os.getppid() != self.parent:
            sys.exit()
        if not is_stopped(self.parent):
            for peer in self.peers.values():
                self.send(peer.connection, {"name": self.name})

    def read(self, source: Any) -> None:
        """Read what a rank or another helper says."""
        if source is ORDERS:
            line = ORDERS.readline()
            self.finish(json.loads(line)["reason"]) if line else sys.exit()
        elif source not in self.unread:
            with contextlib.suppress(OSError):
                self.receive_from(self.listener.accept()[0])
        else:
            self.read_from(source)

    def read_from(self, connection: socket.socket) -> None:
        """Read what has come of another helper's messages; forget whoever is none."""
        try:
            content = connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        *lines, self.unread[connection] = (self.unread[connection] + content).split(b"\n")
        rank = self.find_rank(connection)
        for line in lines:
            message = parse(line)
            word = str(message.get("token")).encode(errors="replace")
            if rank is None and hmac.compare_digest(word, self.token.encode()):
                rank = message["rank"]
                self.peers[rank].connection = connection
                self.send(connection, {"name": self.name})  # before any beat, in case this rank ends at once
            if rank is not None:
                self.follow(rank, message)
        stranger = rank is None and (lines or len(self.unread[connection]) > 4096)
        if not content or stranger:
            self.selector.unregister(connection)
            connection.close()
            if rank is not None and not self.peers[rank].ended:
                self.lose(rank, "has ended before the others")

    def find_rank(self, connection: socket.socket) -> int | None:
        return next((rank for rank, peer in self.peers.items() if peer.connection is connection), None)

    def follow(self, rank: int, message: dict[str, Any]) -> None:
        """Follow a message of another rank's helper: each is a beat, and some say more."""
        peer = self.peers[rank]
        peer.heard, peer.name = time.monotonic(), message.get("name", peer.name)
        peer.ended = peer.ended or "end" in message
        if "lost" in message:
            self.say_lost(message["lost"])
        if "failed" in message:
            self.lose(rank, f"{FAILED} {message['failed']}")

    def finish(self, reason: str) -> None:
        """Tell the others that this rank has ended as it should, or has failed; and end."""
        for peer in self.peers.values():
            self.send(peer.connection, {"failed": reason} if reason else {"end": True})
        sys.exit()

    def lose(self, rank: int, why: str) -> None:
        """Tell all others, and this rank, that a rank is lost."""
        name = self.peers[rank].name
        sentence = f"Rank {rank}{f' ({name})' if name else ''} {why}. The same command continues from what is saved."
        for other, peer in self.peers.items():
            if other != rank:
                self.send(peer.connection, {"lost": sentence})
        self.say_lost(sentence)

    def say_lost(self, sentence: str) -> None:
        """Tell this rank of the lost one, and end; nobody listens where it has just ended itself."""
        with contextlib.suppress(OSError):
            print(" ".join(sentence.split()), flush=True)
        os._exit(0)

    def send(self, connection: socket.socket | None, message: dict[str, object]) -> None:
        if connection is not None:
            with contextlib.suppress(OSError):  # whether a peer is lost, reading tells
                connection.send(json.dumps(message).encode() + b"\n")


def open_listener(address: str) -> socket.socket:
    """Listen on a free port: of this machine alone where all ranks are on it, else for IPv6, too, where there is."""
    if address in LOOPBACK:
        return socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        return socket.create_server(("", 0))


def parse(line: bytes) -> dict[str, Any]:
    """Parse a message; whatever is none is an empty one."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def is_stopped(process: int) -> bool:
    """Return whether a process is stopped, as by SIGSTOP; False where the system has no /proc to tell."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # its rank handles them, and it ends with its rank
    ORDERS = open(0, "rb", buffering=0)  # noqa: SIM115 - what a buffer holds, no selector sees
    if line := ORDERS.readline():
        Helper(json.loads(line)).run()
