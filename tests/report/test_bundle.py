"""A report in one file: everything comes back out of it, and nothing else does."""

import hashlib
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import make_results, write_run

from src.errors import UserError
from src.report import bundle as bundles
from src.report.__main__ import answer
from src.report.bundle import BEGIN, END, SEAL_LENGTH, read_bundle


@pytest.fixture
def type_words(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["report", *map(str, words)])
        return answer()

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of a study, of no study and failed ones; their report, and its bundle."""
    folder = tmp_path_factory.mktemp("made")
    for model, error in (("resnet20", 8.7), ("resnet56", 7.0)):
        for seed in range(2):
            results = make_results(error + seed / 10, seed, model=model)
            write_run(folder / "runs" / f"{model}-{seed} <b>&", results, beside=True)
    write_run(folder / "runs" / "other", make_results(9.0, 0, model="resnet32", data="digits"), beside=True)
    write_run(folder / "runs" / "again", make_results(8.7, 0), beside=True)
    write_run(folder / "runs" / "failed", make_results(9.0, 7, status="failed", reason="no memory"))
    (folder / "runs" / "again" / "trust.json").write_text("{")  # a table tells of it, with its path
    (folder / "runs" / "resnet20-1 <b>&" / "trust.json").write_text('{"temperature": 1.2}')
    with pytest.MonkeyPatch.context() as patch:
        words = [f"runs={folder / 'runs'}", "study=he2016_table6", f"out={folder / 'out'}"]
        patch.setattr(sys, "argv", ["report", *words, f"bundle={folder / 'table6.html'}"])
        assert answer() == 0
    return folder


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_table_comes_out_of_the_bundle_when_the_runs_are_gone(
    made: Path, tmp_path: Path, type_words: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("table6.html", "out"):
        (shutil.copytree if name == "out" else shutil.copy)(made / name, tmp_path / name)
    gone = made.rename(made.with_name("gone"))
    try:
        assert type_words(f"bundle={tmp_path / 'table6.html'}", f"out={tmp_path / 'again'}") == 0
    finally:
        gone.rename(made)
    first, second = read_all(tmp_path / "out"), read_all(tmp_path / "again")
    page, own = second.pop("index.html"), first.pop("index.html")
    assert first == second and len(first) > 8
    assert any(b"trust.json" in content for content in first.values())
    assert (tmp_path / "table6.html").read_bytes().startswith(page)  # the page of the bundle comes again, too
    assert page != own and b'<a href="../runs' in own and b'href="../' not in page and b"<b>&" not in page
    said = capsys.readouterr()
    assert "Every table is that of the bundle, byte by byte" in said.out
    assert f"Left out: {made / 'runs' / 'failed'}: failed: no memory" in said.err


def test_a_table_that_comes_out_otherwise_is_named(
    made: Path, tmp_path: Path, type_words: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (made / "table6.html").read_bytes()
    digest = next(
        d for name, d in read_bundle(made / "table6.html").tables.items() if name.endswith("all-runs-of-this-study.md")
    )
    (tmp_path / "b.html").write_bytes(seal(whole[:-SEAL_LENGTH].replace(digest.encode(), b"0" * 64)))
    assert type_words(f"bundle={tmp_path / 'b.html'}", f"out={tmp_path / 'out'}") == 1
    assert "1 of " in (said := capsys.readouterr().err) and "all-runs-of-this-study.md" in said


def test_corrected_labels_travel_with_the_bundle(tmp_path: Path, type_words: Callable[..., int]) -> None:
    write_run(tmp_path / "runs" / "a", make_results(8.7, 0), beside=True)
    (tmp_path / "labels.csv").write_text("index,label\n0,1\n")
    words = [f"runs={tmp_path / 'runs'}", f"labels={tmp_path / 'labels.csv'}", f"out={tmp_path / 'out'}"]
    assert type_words(*words, f"bundle={tmp_path / 'b.html'}") == 0
    (tmp_path / "labels.csv").unlink()
    assert type_words(f"bundle={tmp_path / 'b.html'}", f"out={tmp_path / 'again'}") == 0
    assert (tmp_path / "again" / "index.html").exists()


def seal(content: bytes) -> bytes:
    return content + b"<!-- sha256:" + hashlib.sha256(content).hexdigest().encode() + b" -->\n"


def test_what_is_damaged_is_refused_in_a_sentence(made: Path, tmp_path: Path) -> None:
    whole, draw, file = (made / "table6.html").read_bytes(), random.Random(0), tmp_path / "b.html"
    for place in [0, len(whole) - 1, len(whole) - 60, *(draw.randrange(len(whole)) for _ in range(40))]:
        changed = bytearray(whole)
        changed[place] ^= 1 << draw.randrange(8)
        file.write_bytes(changed)
        with pytest.raises(UserError, match="b.html: (damaged|is no bundle)"):
            read_bundle(file)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match="b.html: (damaged|is no bundle)"):
            read_bundle(file)
    with pytest.raises(UserError, match="no such file"):
        read_bundle(tmp_path / "absent.html")
    with pytest.raises(UserError, match="folder"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"name":"results.json"', '"name":"../../evil.json"', "no file of a run"),
        ('"name":"results.json"', '"name":["a"]', "no file of a run"),
        ('"size":', '"size":9999999999999,"is":', "no possible size"),
        ('"size":', '"size":1,"is":', "the hash of .* differs"),
        ('"size":', '"size":500000000,"is":', "would unfold to"),
        ('"content":"', '"content":"!', "cannot be unpacked"),
        ('"format":1', '"format":2', "format 2"),
        ('"runs":', '"runs":7,"others":', "none of ours"),
        ('{"format"', "[" * 20000 + '{"format"', "none of ours"),
    ],
)
def test_what_was_sealed_by_others_leads_nowhere(
    old: str, new: str, sentence: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (made / "table6.html").read_bytes()
    start = whole.rindex(BEGIN) + len(BEGIN)
    head, content = whole[:start], whole[start : -SEAL_LENGTH - len(END)]
    assert old.encode() in content
    (tmp_path / "b.html").write_bytes(seal(head + content.replace(old.encode(), new.encode()) + END))
    with pytest.raises(UserError, match=f"b.html: .*{sentence}"):
        read_bundle(tmp_path / "b.html")


def test_wrong_words_and_too_large_pages(
    made: Path, tmp_path: Path, type_words: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"ends in \.html"):
        type_words(f"runs={made / 'runs'}", f"bundle={tmp_path / 'results.json'}")
    with pytest.raises(UserError, match="stands alone"):
        type_words("compare=[a,b]", "bundle=b.html")
    monkeypatch.setattr(bundles, "MOST_BYTES", 290_000)
    with pytest.raises(UserError, match="more than 290,000; name fewer runs"):
        type_words(f"runs={made / 'runs'}", f"out={tmp_path / 'out'}", f"bundle={tmp_path / 'b.html'}")
    with pytest.raises(UserError, match="is no bundle"):
        read_bundle(made / "table6.html")
