"""Serve the page on 127.0.0.1 alone. Nothing in a request is a path: runs are asked for by ids of our own list.

A page of another site cannot read or post here: the Host and Origin headers must be ours, which also ends DNS
rebinding, and nothing is answered for other methods than GET and, of a prediction, POST.
"""

import contextlib
import json
import secrets
import socket
import time
from collections.abc import Mapping
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..cli.console import say
from ..errors import UserError
from ..files import Json
from ..report.render.plot import write_theme
from .details import make_details
from .folder import Folder
from .receive import DRAINED, RefusedError, Uploads
from .sweeps import Sweeps

HOST = "127.0.0.1"
PORT = 8321  # where port= names none and it is free
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HERE = Path(__file__).parent


class Server(ThreadingHTTPServer):
    """The live page of a folder, and perhaps predictions by a run."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Folder, port: int, uploads: Uploads | None = None) -> None:
        """Listen at once; port 0 stands for any that is free. Raises OSError where the port is taken."""
        self.folder, self.uploads = folder, uploads
        self.sweeps = Sweeps(folder)
        self.word = secrets.token_hex(8)  # of this process: a page that knows another one starts anew
        super().__init__((HOST, port), Handler)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/"

    @cached_property
    def pages(self) -> dict[str, tuple[str, bytes]]:
        """The kind and content of each file of the page, by its address."""
        style = write_theme() + (HERE.parent / "report" / "render" / "page.css").read_text()
        return {
            "/": ("text/html", (HERE / "page.html").read_bytes()),
            "/style.css": ("text/css", (style + (HERE / "watch.css").read_text()).encode()),
            "/watch.js": ("text/javascript", (HERE / "watch.js").read_bytes()),
            "/draw.js": ("text/javascript", (HERE / "draw.js").read_bytes()),
            "/drop.js": ("text/javascript", (HERE / "drop.js").read_bytes()),
        }

    def make_state(self, since: int) -> Json:
        """Make what has changed since a version: the order of all runs, the newer entries, and the table."""
        with self.folder.lock:
            self.folder.look()
            complete = self.sweeps.look()
            version = self.folder.version
            state: Json = {"word": self.word, "version": version, "complete": complete}
            if since < version:
                state["root"] = str(self.folder.root)
                state["left_out"] = self.folder.left_out
                state["order"] = list(self.folder.seen)
                state["changed"] = {
                    number: seen.entry | seen.extra for number, seen in self.folder.seen.items() if seen.version > since
                }
                state["sweeps"] = self.sweeps.tabulate()
                state["predict"] = self.uploads.describe() if self.uploads else None
            return state

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a page that was closed while it was answered."""


class Handler(BaseHTTPRequestHandler):
    """Answer a request."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that a page may be silent
    server_version, sys_version = "watch", ""

    def do_GET(self) -> None:
        """Send a file of the page, the state, or the details of a run."""
        if not self.check_host():
            return
        try:
            address = urlsplit(self.path)
            words = {name: values[-1] for name, values in parse_qs(address.query[:200]).items()}
            content = self.find_answer(address.path, words)
        except Exception as error:  # nothing that lies in a folder of runs ends the page
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"cannot be answered ({type(error).__name__})")
            return
        if content is None:
            self.refuse(HTTPStatus.NOT_FOUND, "there is no such page, or no such run any more")
        elif isinstance(content, dict):
            self.answer_json(HTTPStatus.OK, content)
        else:
            self.answer(HTTPStatus.OK, content[1], content[0])

    def find_answer(self, path: str, words: Mapping[str, str]) -> Json | tuple[str, bytes] | None:
        """Return JSON, or the kind and content of a file of the page; None where there is nothing."""
        if path == "/state":
            since = read_number(words.get("since")) if words.get("word") == self.server.word else -1
            return self.server.make_state(since)
        if path == "/run":
            with self.server.folder.lock:
                seen = self.server.folder.seen.get(words.get("id", ""))
            return make_details(seen, read_number(words.get("have"))) if seen else None
        return self.server.pages.get(path)

    def do_POST(self) -> None:
        """Predict the image that is the body of the request."""
        if not self.check_host():
            return
        if self.path != "/predict" or self.server.uploads is None:
            self.refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            return
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{self.headers.get('Host')}":
            self.refuse(HTTPStatus.FORBIDDEN, "only the page itself may ask for a prediction")
            return
        try:
            record = self.server.uploads.predict(self.rfile, self.headers)
        except RefusedError as refused:
            self.refuse(HTTPStatus(refused.status), str(refused))
        except UserError as error:
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        except Exception as error:  # such as a device that has no memory left
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"cannot be predicted ({type(error).__name__})")
        else:
            self.answer_json(HTTPStatus.OK, record)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request, and other methods than ours, in the same manner as all else."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self.refuse(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered")
        else:
            self.refuse(HTTPStatus(code), "this is no request")

    def check_host(self) -> bool:
        """Return whether the request was meant for this server, and refuse it otherwise."""
        port = self.server.server_address[1]
        if self.headers.get("Host") in (f"{HOST}:{port}", f"localhost:{port}"):
            return True
        self.refuse(HTTPStatus.MISDIRECTED_REQUEST, f"open {self.server.address}")
        return False

    def refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer with a sentence, and close the connection: a body that nobody has read may follow."""
        self.close_connection = True
        self.answer_json(status, {"error": sentence})
        with contextlib.suppress(OSError):  # read on for a moment, or the sender sees a reset in place of the answer
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            left, deadline = DRAINED, time.monotonic() + 10
            while self.command == "POST" and left > 0 and time.monotonic() < deadline:
                if not (chunk := self.connection.recv(1 << 16)):
                    break
                left -= len(chunk)

    def answer_json(self, status: HTTPStatus, content: object) -> None:
        """Send JSON; a number that is not finite, which JSON lacks, becomes null."""
        try:
            text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        except ValueError:
            text = json.dumps(json.loads(json.dumps(content), parse_constant=lambda _: None), separators=(",", ":"))
        self.answer(status, text.encode(), "application/json")

    def answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        """Send an answer with the headers that keep the page to itself."""
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in {
            "Cache-Control": "no-store",
            "Content-Security-Policy": POLICY,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing for each request."""


def read_number(text: str | None) -> int:
    """Return a version that a page knows; -1 where it knows none."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 16 else -1


def open_server(folder: Folder, port: int | None, uploads: Uploads | None = None) -> Server:
    """Listen on a port, or on PORT or any free one where none is named; UserError where it cannot be had."""
    for choice in (port,) if port is not None else (PORT, 0):
        try:
            return Server(folder, choice, uploads)
        except OSError as error:
            if port is not None or choice == 0:
                raise UserError(
                    f"port={choice}: {error.strerror or error}; leave it out, and a free one is taken"
                ) from None
    raise AssertionError


def serve(server: Server) -> None:
    """Serve until Ctrl-C."""
    with server:
        try:
            say(f"Watching {server.folder.root} at {server.address} (this machine alone); Ctrl-C ends it, and no run.")
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Stopped watching; the runs go on.") from None
