"""Predict images that a page sends, however many, large or wrong they are, in a bounded memory.

A body goes to a file in small pieces, at most UPLOADS at once; the size of a picture is read from its head before any
pixel is decoded, and one is decoded at a time, by one thread, so that its memory is used again for the next.
"""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from http import HTTPStatus
from io import BufferedIOBase
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..files import Json

if TYPE_CHECKING:
    from ..inference.network import Predictor

MOST_BYTES = 32_000_000  # of an image file
MOST_PIXELS = 50_000_000  # of an image: 150 MB as RGB
MOST_FILES = 100  # of one drop
UPLOADS = 4  # files that are received at once
WAITING = 256  # requests that wait for their turn; more are refused
PATIENCE = 120.0  # seconds that a request waits for its turn
SECONDS = 30.0  # that a file may take to arrive
TOP = 5
CHUNK = 1 << 16
DRAINED = 1 << 29  # bytes that are read and dropped, so that a sender sees why it is refused


class RefusedError(Exception):
    """Why an image is not predicted, with the status of HTTP."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Uploads:
    """A predictor, for whoever sends images."""

    def __init__(self, predictor: "Predictor") -> None:
        self.predictor = predictor
        self._turns = threading.Semaphore(UPLOADS)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._waiting, self._count = 0, threading.Lock()

    def describe(self) -> Json:
        """Return what the page says and checks before it sends anything."""
        config = self.predictor.config
        return {
            "name": f"{config.model.name} on {config.data.name}",
            "calibration": self.predictor.describe_calibration(),
            "most_bytes": MOST_BYTES,
            "most_files": MOST_FILES,
        }

    def predict(self, body: BufferedIOBase, headers: Message) -> Json:
        """Predict the image in a request's body; raise RefusedError where it is none, or too large, or one too many."""
        length = read_length(headers)
        with self._take_turn(), tempfile.NamedTemporaryFile(prefix="dropped-") as file:
            receive(body, length, file.file)
            file.flush()
            return self._worker.submit(self._predict_file, Path(file.name)).result()

    def _predict_file(self, path: Path) -> Json:
        from ..data.photos.reader import describe_error
        from ..inference.predicting import predict_batch
        from ..inference.sources import Item

        check_picture(path)
        try:
            image = self.predictor.read(path)
        except Exception as error:  # Pillow's decoders raise a dozen types
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, f"cannot be read: {describe_error(get_cause(error), path)}"
            ) from None
        record = next(iter(predict_batch(self.predictor, [(Item("image", None), image)], TOP)))
        if "objects" in record:  # the page has no use for masks
            kept = ("class", "score", "bbox")
            record["objects"] = [{name: found[name] for name in kept} for found in record["objects"]]
        return {name: value for name, value in record.items() if name not in ("image", "stamp")}

    @contextlib.contextmanager
    def _take_turn(self) -> Iterator[None]:
        with self._count:
            if self._waiting >= WAITING:
                raise RefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE, f"{WAITING} images wait already; send it again later"
                )
            self._waiting += 1
        try:
            if not self._turns.acquire(timeout=PATIENCE):
                raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "others take too long; send it again later")
            try:
                yield
            finally:
                self._turns.release()
        finally:
            with self._count:
                self._waiting -= 1


def read_length(headers: Message) -> int:
    """Return the stated size of a body; raise RefusedError where there is none, or too large a one."""
    text = headers.get("Content-Length") or ""
    if headers.get("Transfer-Encoding") or not (text.isascii() and text.isdecimal()):
        raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "the size of the file must be stated first (Content-Length)")
    if len(text) > 15 or int(text) > MOST_BYTES:
        size = f"{int(text) / 1e6:,.1f} MB" if len(text) <= 15 else "far too many bytes"
        raise RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"has {size}, more than {MOST_BYTES / 1e6:.0f}; shrink it"
        )
    if not int(text):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "is empty")
    return int(text)


def receive(body: BufferedIOBase, length: int, file: IO[bytes]) -> None:
    """Copy a body to a file; raise RefusedError where it ends early or takes too long."""
    deadline = time.monotonic() + SECONDS
    while length:
        try:
            chunk = body.read1(min(CHUNK, length))
        except OSError:
            chunk = b""
        if not chunk or time.monotonic() > deadline:
            raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, "did not arrive whole; send it again")
        file.write(chunk)
        length -= len(chunk)


def check_picture(path: Path) -> None:
    """Raise RefusedError for a file that is no picture, or one of too many pixels, which its head alone says."""
    from PIL import Image, UnidentifiedImageError

    from ..data.photos.formats import list_formats
    from ..data.photos.reader import describe_error

    try:
        with Image.open(path, formats=list_formats()) as file:
            width, height = file.size
    except UnidentifiedImageError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "is no picture") from None
    except Image.DecompressionBombError:
        width = height = MOST_PIXELS
    except Exception as error:  # Pillow's decoders raise a dozen types
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"cannot be read: {describe_error(error, path)}") from None
    if width * height > MOST_PIXELS:
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"has more than {MOST_PIXELS:,} pixels; shrink it")


def get_cause(error: BaseException) -> BaseException:
    """Return what an error of a reader comes from."""
    return error.__cause__ or error


def open_uploads(run: Path) -> Uploads:
    """Open a run for predictions; UserError where it is none."""
    from ..inference.network import open_predictor

    return Uploads(open_predictor(run))
