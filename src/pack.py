"""Resize a whole set once: ``python -m src.pack data=imagenet data.root=<folder> out=<folder> [size=256]``.

The copy has the same layout, with shorter sides of at most `size` pixels, so `data.root=<out>` trains on it with a
fraction of the decoding. `format=jpeg` (default) keeps quality 90; `format=ppm` keeps raw bytes: about ten times the
space, and faster where the memory holds the files (docs/results.md). Also: `workers=`, `data.skip_unreadable=true`.
The same command again continues where the last one stopped.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

from PIL import Image
from tqdm import tqdm

from .cli.console import say, show_page
from .cli.main import main, print_help
from .data.photos.formats import list_jpeg_suffixes
from .data.photos.listing import PACK_NOTE, Listing, find_photos, read_pack_note, scan
from .data.photos.reader import describe_error, open_image, report_problems
from .data.photos.seal import seal
from .errors import UserError
from .files import Json, explain_os_error, write_json
from .text import format_duration

FORMATS = {"jpeg": ".jpg", "ppm": ".ppm"}
QUALITY = 90
SETS = {"imagenet": find_photos, "folder": scan}
LOCK = ".lock"  # in the packed folder


WORDS = {  # of the command line, and the settings they name
    **{name: name for name in ("data", "out", "size", "format", "workers")},
    "data.root": "root",
    "data.skip_unreadable": "skip_unreadable",
}

Job: TypeAlias = tuple[str, str]  # the path of an image, and that of its copy
Outcome: TypeAlias = tuple[str, tuple[int, int] | None, str | None]  # see pack_image


@dataclass(frozen=True)
class Settings:
    """Hold the settings of the command line."""

    data: str
    root: str
    out: str
    size: int = 256
    format: str = "jpeg"
    workers: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    skip_unreadable: bool = False


def pack_from_command_line() -> int:
    """Pack the set that the command line names, and print how to use it."""
    if (told := print_help(__doc__)) is not None:
        return told
    settings = parse_settings(sys.argv[1:])
    try:
        facts = pack(settings)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"\nStopped; the same command continues, and {settings.out} keeps what is done."
        ) from None
    before, after = (facts[name] / 2**20 for name in ("bytes_before", "bytes"))
    show_page(
        f"{facts['files']:,} images, {before:,.0f} MiB, are {after:,.0f} MiB in {settings.out}.\n"
        f"Train on them: python -m src.train data={settings.data} data.root={settings.out}"
    )
    return 0


def parse_settings(words: Iterable[str]) -> Settings:
    """Parse settings from words such as data.root=…. Raises UserError for a wrong one."""
    given: Json = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in WORDS:
            raise UserError(f"{word}: no such setting; there are: {'=, '.join(WORDS)}=")
        if key in ("size", "workers"):
            if not value.isdecimal() or int(value) < 1:
                raise UserError(f"{word}: a whole number above 0 is needed")
            given[key] = int(value)
        elif key == "data.skip_unreadable":
            if value.lower() not in ("true", "false"):
                raise UserError(f"{word}: true or false is needed")
            given[WORDS[key]] = value.lower() == "true"
        else:
            given[WORDS[key]] = value
    for key in ("data", "data.root", "out"):
        if not given.get(WORDS[key]):
            raise UserError(f"{key}=… is needed: python -m src.pack data=imagenet data.root=<folder> out=<folder>")
    if given["data"] not in SETS:
        raise UserError(f"data={given['data']}: only photos in class folders are packed: {', '.join(SETS)}")
    if given.get("format", "jpeg") not in FORMATS:
        raise UserError(f"format={given['format']}: choose one of: {', '.join(FORMATS)}")
    return Settings(**given)


def pack(settings: Settings) -> Json:
    """Write the resized copy and return its facts (the content of its pack.json).

    Raises UserError for a wrong folder, unreadable images, and a full disk.
    """
    found, out = SETS[settings.data](settings.root), Path(settings.out).expanduser()
    found.warn_of_left_out()
    with lock_folder(out, found, settings):
        facts = claim(out, found, settings)
        if facts.get("whole"):
            say(f"{out}: is packed already")
            return facts
        paths = [path for split in found.splits.values() for images in split.values() for path in images]
        jobs = list(zip(paths, name_targets(paths, FORMATS[settings.format]), strict=True))
        before, after, problems = pack_all(jobs, found.root, out, settings)
        report_problems(sorted(problems), found.root, settings.skip_unreadable)
        os.sync()  # all files have reached the disk before the folder is called whole
        facts |= {"whole": True, "files": len(jobs) - len(problems), "bytes_before": before, "bytes": after}
        write_json(out / PACK_NOTE, facts)
    return facts


@contextlib.contextmanager
def lock_folder(out: Path, found: Listing, settings: Settings) -> Iterator[None]:
    """Make the folder and lock it inside the block.

    Raises UserError where it cannot be made, and where another process has locked it.
    """
    source, target = found.root.resolve(), out.resolve()
    if target == source or source in target.parents or target in source.parents:
        raise UserError(f"out={settings.out}: lies in data.root={settings.root} (or around it); choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("ab")
    except OSError as error:
        raise UserError(f"out={settings.out}: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"out={settings.out}: another process is packing into it; wait for it") from None
        try:
            yield
        finally:
            if os.listdir(out) == [LOCK]:
                (out / LOCK).unlink()


def claim(out: Path, found: Listing, settings: Settings) -> Json:
    """Mark the folder as a copy of this set with these settings, and return its note.

    Raises UserError where it holds anything else.
    """
    facts: Json = {"data": settings.data, "size": settings.size, "format": settings.format}
    facts |= {"quality": QUALITY, "source": found.content()}
    note = read_pack_note(out)
    if note is None and set(os.listdir(out)) - {LOCK}:
        (out / LOCK).unlink()
        raise UserError(f"out={settings.out}: holds other files; choose a new folder")
    if note is not None and {key: note.get(key) for key in facts} != facts:
        raise UserError(f"out={settings.out}: holds a set packed from other photos or otherwise; choose another")
    if note is None:
        write_json(out / PACK_NOTE, facts)
    return note or facts


def pack_all(jobs: list[Job], root: Path, out: Path, settings: Settings) -> tuple[int, int, list[str]]:
    """Pack each image; return the bytes of all before and after, and the problems of some.

    Raises UserError for a full disk.
    """
    work = partial(pack_image, root=root, out=out, size=settings.size, format=settings.format)
    problems, before, after, began = [], 0, 0, time.monotonic()
    bar = tqdm(total=len(jobs), desc="packing", unit=" images", disable=None, smoothing=0.05)
    with bar, contextlib.closing(run_jobs(work, jobs, settings.workers)) as done:
        for count, (path, sizes, problem) in enumerate(done):
            bar.update()
            if problem:
                problems.append(f"{path}: {problem}")
            elif sizes:
                before, after = before + sizes[0], after + sizes[1]
            else:
                raise UserError(
                    f"out={settings.out}: no space left on the device after {count:,} of {len(jobs):,} images; free "
                    "some, and the same command continues"
                )
    seconds = time.monotonic() - began
    say(f"{len(jobs):,} images in {format_duration(seconds)}, {len(jobs) / seconds:,.0f} a second")
    return before, after, problems


def name_targets(paths: list[str], suffix: str) -> list[str]:
    """Return the path of each copy: the image's own if that says the format, else with the suffix added (cat.png.jpg).

    Where another image or a folder has that path, the suffix is added once more.
    """
    keep = list_jpeg_suffixes() if suffix == FORMATS["jpeg"] else {suffix}
    names = [path if os.path.splitext(path)[1].lower() in keep else "" for path in paths]
    taken = {*names, *(os.path.dirname(path) for path in paths)}
    for k, path in enumerate(paths):
        while not names[k] or (names[k] != path and names[k] in taken):
            names[k] = (names[k] or path) + suffix
        taken.add(names[k])
    return names


def run_jobs(work: Callable[[Job], Outcome], jobs: list[Job], workers: int) -> Generator[Outcome, None, None]:
    """Yield the outcomes of the jobs, from this process or from several, which end with the iteration."""
    if workers == 1:
        yield from map(work, jobs)
        return
    with get_context().Pool(workers, initializer=_end_with_parent) as pool:
        yield from pool.imap_unordered(work, jobs, chunksize=16)


def _end_with_parent() -> None:
    """Ignore Ctrl-C, which the first process handles, and end when that process says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def pack_image(job: Job, *, root: Path, out: Path, size: int, format: str) -> Outcome:
    """Pack one image unless its copy is there; return its path, its bytes before and after, and its problem.

    For a full disk, both bytes and problem are None. Raises UserError where the copy cannot be written for another
    reason.
    """
    source, target = root / job[0], out / job[1]
    try:
        before = source.stat().st_size
        if target.exists() and (there := target.stat().st_size):  # a crash of the machine can leave an empty file
            return job[0], (before, there), None
        content = seal(resize_image(source, size, format))
    except Exception as error:  # Pillow's decoders raise a dozen types for a damaged file
        return job[0], None, describe_error(error, source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, content)
    except OSError as error:  # no fault of the image: data.skip_unreadable=true must not leave it out
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return job[0], None, None
        raise UserError(explain_os_error(error, target)) from None
    return job[0], (before, len(content)), None


def resize_image(source: Path, size: int, format: str) -> bytes:
    """Encode the image with a shorter side of at most `size` pixels; a small enough JPEG stays as it is.

    Antialiased bicubic, RGB, upright.
    """
    image = open_image(source, "RGB")
    if min(image.size) <= size:
        if format == "jpeg" and source.suffix.lower() in list_jpeg_suffixes():
            return source.read_bytes()
    else:
        ratio = size / min(image.size)
        width, height = (max(size, round(side * ratio)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.save(content, format.upper(), **({"quality": QUALITY} if format == "jpeg" else {}))
    return content.getvalue()


def write_file(target: Path, content: bytes) -> None:
    """Write a file completely or not at all, without flushing each to the disk, which would take longer than packing.

    A half-written file that a kill leaves behind is overwritten, under the same name, by the next attempt.
    """
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()  # the name itself may be as long as names can be
    scratch = target.with_name(f".{digest[:16]}.tmp")
    scratch.write_bytes(content)
    scratch.replace(target)


if __name__ == "__main__":
    main(pack_from_command_line)
