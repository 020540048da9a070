"""The live page sees what happens to runs, survives what lies in their folder, and answers nobody but itself."""

import contextlib
import fcntl
import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import TINY, compose
from made_runs import make_config, make_results, write_run
from PIL import Image

from src.data.photos.reader import read_photo
from src.errors import UserError
from src.runs.find import is_held
from src.watch import receive
from src.watch import sweeps as watch_sweeps
from src.watch.__main__ import read_words
from src.watch.details import LINES, read_tail
from src.watch.folder import MOST_BYTES, Folder, thin_out
from src.watch.receive import RefusedError, Uploads, open_uploads
from src.watch.server import Server, open_server

BROWSERS = "chromium|chromium-headless-shell|chromium-browser|google-chrome"
EPOCHS = 20


def make_run(path: Path, seed: int = 0, epochs: int = EPOCHS, *, finished: bool = True, **settings: Any) -> Path:
    """A run on digits, its curve rising to its end; an unfinished one has the first of its epochs alone."""
    config = make_config("model=resnet20", "data=digits", f"trainer.max_epochs={EPOCHS}") | {"seed": seed}
    config["optim"] = config["optim"] | settings
    write_run(path, make_results(9, seed, data="digits", epochs=EPOCHS), config)
    draws = np.random.default_rng(seed)
    rows = [f"{k},{0.9 * (1 - 0.8**k) + draws.normal(0, 0.01)},{0.8**k}" for k in range(1, epochs + 1)]
    (path / "metrics.csv").write_text("\n".join(["epoch,val/accuracy,val/loss", *rows]) + "\n")
    (path / "run.json").write_text(json.dumps({"config_hash": f"{seed:010}"}))
    if not finished:
        (path / "results.json").unlink()
    return path


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start servers, which look at the disk each time that they are asked."""
    monkeypatch.setattr("src.watch.folder.PAUSE", 0)
    servers: list[Server] = []

    def run(root: Path, uploads: Uploads | None = None) -> Server:
        server = open_server(Folder(root), 0, uploads)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(server: Server, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Any:
    """Return the status and the content of an answer."""
    request = urllib.request.Request(server.address + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def get_state(server: Server, since: dict[str, Any] | None = None) -> dict[str, Any]:
    status, state = ask(server, f"state?since={since['version']}&word={since['word']}" if since else "state")
    assert status == 200
    return state  # type: ignore[no-any-return]


def find_run(state: dict[str, Any], place: str) -> tuple[str, dict[str, Any]]:
    return next((number, run) for number, run in state["changed"].items() if run["place"] == place)


def test_only_what_changes_is_read_and_sent(
    tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        make_run(tmp_path / "digits" / f"run-{seed}", seed, lr=0.1 if seed else 0.2)
    growing = make_run(tmp_path / "growing", 7, epochs=4, finished=False)
    server = serve(tmp_path)
    first = get_state(server)
    assert len(first["order"]) == len(first["changed"]) == 4
    number, run = find_run(first, "growing")
    assert (run["state"], run["epochs"], run["planned"], run["metric"]) == ("stopped", 4, EPOCHS, "accuracy")
    assert find_run(first, "digits/run-0")[1]["differing"] == "lr=0.2"
    told = {row["settings"]: row for row in first["sweeps"]}
    assert told["lr=0.2"]["ended"] == 1 and told["lr=0.2"]["test"] == pytest.approx(0.91)
    assert sum(row["ended"] for row in first["sweeps"]) == 3 and sum(row["lost"] for row in first["sweeps"]) == 1

    again = get_state(server, first)
    assert again == {"word": first["word"], "version": first["version"], "complete": True}
    read: list[str] = []
    real = watch_sweeps.read_config
    monkeypatch.setattr("src.watch.sweeps.read_config", lambda path: (read.append(str(path)), real(path))[1])
    with (growing / "metrics.csv").open("a") as file:
        file.write("5,0.625,0.5\n")
    second = get_state(server, first)
    assert list(second["changed"]) == [number] and second["changed"][number]["now"] == 0.625 and not read
    shutil.rmtree(tmp_path / "digits" / "run-1")
    third = get_state(server, second)
    assert len(third["order"]) == 3 and not third["changed"]
    assert len(get_state(server, {"version": 999, "word": "another"})["changed"]) == 3


def test_a_killed_run_has_stopped(tmp_path: Path, serve: Callable[..., Server]) -> None:
    run = make_run(tmp_path / "run", epochs=2, finished=False)
    code = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(run / ".lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline()
        server = serve(tmp_path)
        running = get_state(server)
        assert find_run(running, "run")[1]["state"] == "running"
        holder.send_signal(signal.SIGKILL)
    assert find_run(get_state(server, running), "run")[1]["state"] == "stopped"


def test_watching_holds_no_lock(tmp_path: Path, serve: Callable[..., Server]) -> None:
    run = make_run(tmp_path / "run", epochs=2, finished=False)
    (run / ".lock").touch()
    server = serve(tmp_path)
    get_state(server)
    with (run / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert find_run(get_state(server), "run")[1]["state"] == "running" and is_held(run)


def test_an_unfinished_run_is_foretold(tmp_path: Path, serve: Callable[..., Server]) -> None:
    for seed in range(60):
        make_run(tmp_path / f"run-{seed}", seed)
    make_run(tmp_path / "late", 100, epochs=6, finished=False)
    make_run(tmp_path / "early", 101, epochs=5, finished=False)
    state = get_state(serve(tmp_path))
    early = find_run(state, "late")[1]["early"]
    assert early["n"] == 60 and early["low"] < 0.9 * (1 - 0.8**EPOCHS) < early["high"]
    assert find_run(state, "early")[1]["early"] is None


def test_whatever_lies_there_is_named_and_ends_nothing(tmp_path: Path, serve: Callable[..., Server]) -> None:
    make_run(tmp_path / "fine")
    for name, file, content in (
        ("a", "results.json", b"{"),
        ("b", "results.json", b"[" * 100_000),
        ("c", "results.json", json.dumps(make_results() | {"metrics": {"test/accuracy": "x"}, "seed": []}).encode()),
        ("d", "config.yaml", b"a: &a [*a]"),
        ("e", "metrics.csv", b"epoch,val/accuracy\n1,x\n"),
        ("f", "metrics.csv", b"\xff\xfe\0"),
        ("g", "run.json", b'{"config_hash": 7}'),
        ("h", "metrics.csv", b"epoch,val/accuracy\n1,inf\n2,nan\n"),
    ):
        (make_run(tmp_path / name, finished=file == "results.json") / file).write_bytes(content)
    (make_run(tmp_path / "pipe") / "metrics.csv").unlink()
    os.mkfifo(tmp_path / "pipe" / "metrics.csv")
    with (make_run(tmp_path / "huge") / "metrics.csv").open("ab") as large:
        large.truncate(MOST_BYTES + 1)
    (tmp_path / "<b>\udcff&").mkdir()
    (tmp_path / "<b>\udcff&" / "run.json").write_text("{}")
    os.symlink(tmp_path, tmp_path / "fine" / "loop")
    server = serve(tmp_path)
    state = get_state(server)
    runs = {run["place"]: run for run in state["changed"].values()}
    assert len(runs) == 12 and runs["fine"]["state"] == "finished" and not runs["fine"]["reason"]
    for name in ("a", "b", "d", "pipe", "huge"):
        assert runs[name]["state"] == "damaged" and runs[name]["reason"], name
    for name in ("e", "f"):
        assert runs[name]["state"] == "stopped" and "metrics.csv: damaged" in runs[name]["reason"], name
    assert "is no file" in runs["pipe"]["reason"]
    for number in state["order"]:
        assert ask(server, f"run?id={number}")[0] == 200


def test_a_run_has_its_curves_and_the_end_of_its_log(tmp_path: Path, serve: Callable[..., Server]) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "run.log").write_bytes(b"one\nbar 1 %\rbar 2 %\r\n\x1b[2Jtwo \xff\n")
    server = serve(tmp_path)
    number = get_state(server)["order"][0]
    status, details = ask(server, f"run?id={number}")
    assert status == 200 and set(details["curves"]) == {"val/accuracy", "val/loss"}
    assert len(details["curves"]["val/loss"]) == EPOCHS
    assert details["log"] == ["one", "bar 2 %", "\N{REPLACEMENT CHARACTER}[2Jtwo \N{REPLACEMENT CHARACTER}"]
    assert "curves" not in ask(server, f"run?id={number}&have={details['version']}")[1]
    assert ask(server, "run?id=0123456789abcdef")[0] == 404


def test_a_log_is_bounded_and_no_other_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "long.log").write_text("".join(f"{k:09}\n" for k in range(100_000)))
    lines = read_tail(tmp_path / "long.log")
    assert len(lines) == LINES and lines[-1] == "000099999"
    (tmp_path / "wide.log").write_text("x" * 100_000)
    assert read_tail(tmp_path / "wide.log") == []
    os.symlink("/etc/passwd", tmp_path / "link.log")
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "folder.log").mkdir()
    assert all(read_tail(tmp_path / f"{name}.log") == [] for name in ("link", "pipe", "folder", "absent"))


def test_a_curve_keeps_its_ends() -> None:
    points = [(float(k), float(k)) for k in range(1, 1001)]
    thin = thin_out(points, 60)
    assert len(thin) <= 61 and thin[0] == points[0] and thin[-1] == points[-1] and thin_out([], 60) == []


def test_nobody_else_is_answered(tmp_path: Path, serve: Callable[..., Server]) -> None:
    make_run(tmp_path / "run")
    server = serve(tmp_path)
    port = server.server_address[1]
    assert server.server_address[0] == "127.0.0.1"
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}", ""):
        assert ask(server, "state", Host=host)[0] == 421, host
    assert ask(server, "state", Host=f"localhost:{port}")[0] == 200
    for path in ("../../etc/passwd", "/etc/passwd", "run.json", "watch.py", "%2e%2e/run/config.yaml", "predict"):
        assert ask(server, path)[0] == 404, path
    for path in ("run?id=../run", "run?id=run", "run", f"run?id={tmp_path / 'run'}"):
        assert ask(server, path)[0] == 404, path
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
        assert ask(server, "state", method=method)[0] == 405, method
    assert ask(server, "state", b"x")[0] == ask(server, "predict", b"x")[0] == 404
    for request in (b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 100 + b"\r\n\r\n", b"GET /" + b"a" * 70_000):
        with http.client.socket.create_connection(("127.0.0.1", port)) as raw:  # type: ignore[attr-defined]
            raw.sendall(request + b"\r\n\r\n")
            raw.settimeout(5)
            with contextlib.suppress(ConnectionError):
                assert b"200" not in raw.recv(100)[:20]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for page in ("/", "/style.css", "/watch.js", "/draw.js", "/drop.js"):
        connection.request("GET", page)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    connection.close()


def test_what_fails_on_the_way_is_a_sentence(
    tmp_path: Path, serve: Callable[..., Server], uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(tmp_path, uploads)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("src.watch.folder.find_directories", fail)
    assert ask(server, "state") == (500, {"error": "cannot be answered (MemoryError)"})
    monkeypatch.setattr(receive, "check_picture", fail)
    assert ask(server, "predict", b"x") == (500, {"error": "cannot be predicted (MemoryError)"})


def test_no_text_of_a_run_becomes_markup() -> None:
    folder = Path(watch_sweeps.__file__).parent
    for script in folder.glob("*.js"):
        text = script.read_text()
        assert not any(word in text for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("))


def test_wrong_words_get_a_sentence(tmp_path: Path) -> None:
    for words, sentence in {
        "run=x": "not understood",
        "runs=": "not understood",
        f"runs={tmp_path / 'absent'}": "no such folder",
        f"runs={tmp_path} port=99999": "0 to 65535",
        f"runs={tmp_path} port=x": "0 to 65535",
    }.items():
        with pytest.raises(UserError, match=sentence):
            read_words(words.split())
    assert read_words([f"runs={tmp_path}", "port=0"]) == (tmp_path, 0, None)
    server = open_server(Folder(tmp_path), 0)
    with pytest.raises(UserError, match=r"port=\d+: .*leave it out"):
        open_server(Folder(tmp_path), server.server_address[1])
    server.server_close()


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Uploads:
    from src.training.run import train

    path = tmp_path_factory.mktemp("watch") / "run"
    train(compose(*TINY, "trainer.max_epochs=1"), path)
    return open_uploads(path)


def encode(side: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def make_bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that says to have side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    content = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def test_dropped_images_are_predicted_and_all_else_is_refused(
    tmp_path: Path, serve: Callable[..., Server], uploads: Uploads
) -> None:
    server = serve(tmp_path, uploads)
    assert get_state(server)["predict"]["most_files"] == 100
    for kind in ("PNG", "JPEG", "BMP"):
        status, record = ask(server, "predict", encode(16, kind))
        assert status == 200 and len(record["classes"]) == 5 and set(record) == {"classes", "probabilities"}
    for body, status, sentence in (
        (b"a text", 400, "is no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400, "is no picture"),
        (encode(64)[:1500], 400, "cannot be read"),
        (b"", 400, "is empty"),
        (make_bomb(8000), 413, "has more than 50,000,000 pixels"),
        (make_bomb(60_000), 413, "has more than 50,000,000 pixels"),
        (make_bomb(4000), 400, "cannot be read"),
        (bytes(40_000_000), 413, "has 40.0 MB, more than 32"),
    ):
        found = ask(server, "predict", body)
        assert found[0] == status and sentence in found[1]["error"], found
    image = encode(8)
    assert ask(server, "predict", image, Origin="http://evil.example")[0] == 403
    assert ask(server, "predict", image, Origin="null")[0] == 403
    assert ask(server, "predict", image, Host="evil.example")[0] == 421
    assert ask(server, "predict", image, Origin=server.address.rstrip("/"))[0] == 200
    assert ask(server, "predict", iter([image]))[0] == 411  # type: ignore[arg-type]  # chunked


def test_a_detector_tells_what_it_found(tmp_path: Path, serve: Callable[..., Server], uploads: Uploads) -> None:
    class Detector:
        detects, has_labels, classes, config = True, False, ("cat", "dog"), uploads.predictor.config

        def read(self, path: Path) -> torch.Tensor:
            return read_photo(path)

        def describe_calibration(self) -> str:
            return ""

        def find_objects(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            found = {"boxes": torch.tensor([[1.0, 2.0, 5.0, 8.0]]), "labels": torch.tensor([2])}
            return found | {"scores": torch.tensor([0.75]), "masks": torch.ones(1, 1, *image.shape[1:])}

    server = serve(tmp_path, Uploads(Detector()))  # type: ignore[arg-type]
    status, record = ask(server, "predict", encode(16))
    assert status == 200 and record["objects"] == [{"class": "dog", "score": 0.75, "bbox": [1.0, 2.0, 4.0, 6.0]}]


def test_a_file_of_200_mb_is_refused_before_it_is_sent(
    tmp_path: Path, serve: Callable[..., Server], uploads: Uploads
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", serve(tmp_path, uploads).server_address[1], timeout=10)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", "200000000")
    connection.endheaders(b"some of it")
    answer = connection.getresponse()
    assert answer.status == 413 and "200.0 MB" in json.load(answer)["error"]
    connection.close()


def test_fifty_at_once_are_answered_four_at_a_time(
    tmp_path: Path, serve: Callable[..., Server], uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, image, most = serve(tmp_path, uploads), encode(8), [0]
    real, open_files = receive.receive, [0]

    def count(*arguments: Any) -> None:
        open_files[0] += 1
        most[0] = max(most[0], open_files[0])
        real(*arguments)
        open_files[0] -= 1

    monkeypatch.setattr(receive, "receive", count)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(ask(server, "predict", image)[0])) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 50 and 1 <= most[0] <= receive.UPLOADS
    monkeypatch.setattr(receive, "WAITING", 0)
    assert ask(server, "predict", image)[0] == 503


def test_a_body_that_ends_early_or_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(RefusedError, match="did not arrive whole"):
        receive.receive(io.BytesIO(b"half"), 8, file)
    monkeypatch.setattr(receive, "SECONDS", -1)
    with (tmp_path / "file").open("wb") as file, pytest.raises(RefusedError, match="did not arrive whole"):
        receive.receive(io.BytesIO(b"whole"), 5, file)


@pytest.mark.needs(BROWSERS)
def test_a_browser_shows_the_runs(tmp_path: Path, serve: Callable[..., Server]) -> None:
    make_run(tmp_path / "outputs" / "<b>run", 3)
    (tmp_path / "outputs" / "<b>run.log").write_text("the end of <i>it</i>\n")
    make_run(tmp_path / "outputs" / "other", epochs=3, finished=False)
    server = serve(tmp_path / "outputs")
    number = find_run(get_state(server), "<b>run")[0]
    browser = next(name for name in BROWSERS.split("|") if shutil.which(name))
    words = [
        browser,
        "--headless",
        "--no-sandbox",
        "--virtual-time-budget=3000",
        f"--user-data-dir={tmp_path / 'user'}",
    ]
    done = subprocess.run(
        [*words, "--dump-dom", f"{server.address}#run={number}"], capture_output=True, text=True, timeout=120
    )
    page = done.stdout
    assert "2 runs: 1 finished, 1 stopped" in page and "&lt;b&gt;run" in page and "<b>run" not in page
    assert "the end of &lt;i&gt;it&lt;/i&gt;" in page and page.count("<svg") >= 4 and "Live; as of" in page
