"""Published sets: fetched once and resumed, unpacked, verified; damage and absence in a sentence or two."""

import gzip
import hashlib
import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from src.config.choices import find_choice
from src.config.data import Cifar10, Cifar100, FashionMNIST
from src.data.build import build_data, fingerprint
from src.data.sets.cifar import CIFAR10
from src.data.sets.fashion_mnist import FASHION_MNIST
from src.data.sets.official import Archive, PublishedSet
from src.errors import UserError
from src.machine.download import DownloadError, fetch

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "unpack.py"


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``files`` with ranges; breaks off in the middle of the first whole answer where told to."""

    files: ClassVar[dict[str, bytes]] = {}
    breaks: ClassVar[int] = 0
    ranges: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if self.path not in self.files:
            self.send_error(404)
            return
        content = self.files[self.path]
        asked = self.headers.get("Range")
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.ranges.append(asked or "")
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        stop = len(content)
        if Server.breaks:
            Server.breaks, stop = Server.breaks - 1, (first + stop) // 2
        self.wfile.write(content[first:stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.files, Server.breaks, Server.ranges = {}, 0, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">i4").tobytes()
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture
def small(server: str) -> PublishedSet:
    """A published set like Fashion-MNIST, with 20 training and 10 test images, on a local server."""
    archives = []
    for split, n in (("train", 20), ("t10k", 10)):
        labels = np.arange(n) % 10
        for kind, values in (("images-idx3", np.ones((n, 28, 28)) * labels[:, None, None]), ("labels-idx1", labels)):
            name, content = f"{split}-{kind}-ubyte", idx(values)
            packed = gzip.compress(content)
            Server.files[f"/{name}.gz"] = packed
            urls = (f"{server}/absent/{name}.gz", f"{server}/{name}.gz")
            archives.append(Archive(f"{name}.gz", md5(packed), {name: md5(content)}, urls))
    return PublishedSet(FASHION_MNIST.info, "FashionMNIST", tuple(archives), folder="FashionMNIST/raw")


def test_a_set_is_fetched_unpacked_and_read_once(small: PublishedSet, tmp_path: Path):
    raw = small.load(str(tmp_path / "new"), download=True)
    assert raw.train.images.shape == (20, 28, 28, 1)
    assert raw.test.labels.tolist() == list(range(10))
    assert raw.train.images[13].max() == 3
    asked = len(Server.ranges)
    small.load(str(tmp_path / "new"), download=True)
    assert len(Server.ranges) == asked
    left = sorted(path.name for path in (tmp_path / "new" / small.folder).iterdir())
    assert left == sorted([name for a in small.archives for name in (a.name, *a.files)])


def test_an_archive_that_lies_there_is_used(small: PublishedSet, tmp_path: Path):
    place = tmp_path / small.folder
    place.mkdir(parents=True)
    for archive in small.archives:
        (place / archive.name).write_bytes(Server.files[f"/{archive.name}"])
    assert len(small.load(str(tmp_path), download=False).train) == 20
    (place / "train-labels-idx1-ubyte").unlink()
    (place / "train-labels-idx1-ubyte.gz").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte.gz: damaged.*delete it and run again"):
        small.load(str(tmp_path), download=True)


def test_a_damaged_file_is_named(small: PublishedSet, tmp_path: Path):
    small.load(str(tmp_path), download=True)
    path = tmp_path / small.folder / "t10k-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte: damaged.*delete it and run again"):
        small.load(str(tmp_path), download=True)


def test_a_download_resumes_where_it_broke(server: str, tmp_path: Path):
    content = np.random.RandomState(0).bytes(300_000)
    Server.files["/archive"], Server.breaks = content, 2
    fetch((f"{server}/archive",), tmp_path / "a" / "archive", md5(content))
    assert (tmp_path / "a" / "archive").read_bytes() == content
    assert Server.ranges == ["", "bytes=150000-", "bytes=225000-"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["archive"]


@pytest.mark.parametrize("left", [b"whole", b"wrong", b"too long", b"wh"])
def test_a_download_copes_with_what_an_earlier_one_left(server: str, tmp_path: Path, left: bytes):
    Server.files["/archive"] = b"whole"
    (tmp_path / "archive.part").write_bytes(left)
    fetch((f"{server}/archive",), tmp_path / "archive", md5(b"whole"))
    assert (tmp_path / "archive").read_bytes() == b"whole"
    assert (Server.ranges == []) == (left == b"whole")


def test_a_wrong_delivery_falls_back_to_the_next_mirror(server: str, tmp_path: Path):
    Server.files |= {"/wrong": b"<html>", "/right": b"right"}
    fetch((f"{server}/wrong", f"{server}/right"), tmp_path / "archive", md5(b"right"))
    assert (tmp_path / "archive").read_bytes() == b"right"
    with pytest.raises(DownloadError, match="another file"):
        fetch((f"{server}/wrong",), tmp_path / "b" / "archive", md5(b"right"))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_a_missing_set_says_what_to_bring(name: str, download: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_network(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    root = tmp_path / "not" / "there"
    with pytest.raises(UserError) as error:
        build_data(find_choice("data", name)(root=str(root), download=download), seed=0)
    message = str(error.value)
    assert len(message.splitlines()) == 2
    assert all(word in message for word in (str(root), ".gz", "md5", "data.root="))
    assert ("Network is unreachable" in message) == download
    assert not (tmp_path / "not").exists()


def test_fingerprints_are_the_archives_md5s_and_need_no_data():
    assert fingerprint(Cifar10(root="x")) == "cifar10:c58f30108f718f92721af3b95e74349a"
    assert fingerprint(Cifar100(root="x")) == "cifar100:eb9058c3a382ffc7106e4002c42a8d85"
    assert fingerprint(FashionMNIST(root="x")) == "fashion_mnist:8b2e261cc34b996cc818c1712cdbed0f"
    with pytest.raises(UserError, match="cifar11"):
        find_choice("data", "cifar11")


def test_fingerprint_imports_no_torch():
    program = (
        "import sys; from src.config.data import Cifar10; from src.data.build import fingerprint, build_data;"
        "fingerprint(Cifar10()); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(not SHARED.is_file(), reason="the real CIFAR-10 of ../shared/data is not here")
def test_the_real_cifar10(tmp_path: Path):
    subprocess.run([sys.executable, SHARED, tmp_path, "cifar10"], check=True, capture_output=True)
    raw = CIFAR10.load(str(tmp_path), download=False)
    assert (len(raw.train), len(raw.test)) == (50_000, 10_000)
    pixels = raw.train.images.reshape(-1, 3)[::7] / 255
    np.testing.assert_allclose(pixels.mean(0), raw.info.mean, atol=5e-4)
    np.testing.assert_allclose(pixels.std(0), raw.info.std, atol=5e-4)
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    content = bytearray(batch.read_bytes())
    content[1000] ^= 1
    batch.write_bytes(content)
    with pytest.raises(UserError, match=r"data_batch_3: damaged"):
        CIFAR10.load(str(tmp_path), download=False)
    shutil.rmtree(tmp_path / "cifar-10-batches-py")
