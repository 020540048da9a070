"""The run directory: its lock, its files, how a run resumes and how it starts over."""

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from ..config.run import TrainConfig
from ..errors import UserError
from ..files import find_missing_folders, read_json, remove_empty, write_atomic, write_json
from .identity import compute_code_hash, to_plain
from .results import Results

FILES = (  # of a run directory; fresh=true deletes these and no others
    ".lock",
    "run.json",
    "config.yaml",
    "results.json",
    "metrics.csv",
    "confusion_matrix.csv",
    "per_class.csv",
    "test_predictions.npz",
    "detections.json",
)


SCRATCH = re.compile(r"\.({})\.\d+\.tmp".format("|".join(map(re.escape, FILES))))  # left by a killed process
FOLDERS = {  # of a run directory, with the names of the files that a run writes there
    "checkpoints": r"\.?(last|best)\.ckpt(\.\d+\.tmp)?",
    "pictures": r"\.?epoch_\d+\.png(\.\d+\.tmp)?",
    "tensorboard": r"events\.out\.tfevents\..*|hparams\.yaml",
    "wandb": r"(offline-)?run-\d+_\d+-<id>|latest-run|debug(-\w+)*\.log",
}
MIXED = "mixed"  # in place of the code's hash, where another code has continued the run
ENDED = ("finished", "untested")  # the status of a run in results.json, if it is not "failed"


class Run:
    """A run directory, read and written for a run of one configuration."""

    def __init__(self, path: Path, config_hash: str, *, adopt: bool = False, test: bool = True) -> None:
        """Name the directory and the configuration's hash; nothing is read yet.

        With `adopt` a directory of another configuration is taken over (resume=…), else it is refused. Without `test`
        a run counts as ended before its test.
        """
        self.path = path
        self.adopt = adopt
        self.test = test
        self.config_hash = config_hash
        self.code_hash = compute_code_hash()
        self._wandb_id: str | None = None

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    def find_results(self) -> Results | None:
        """Return results.json of the ended run, or None; raise UserError for a directory of another configuration."""
        results = read_json(self.path / "results.json")
        self._refuse_other(results)
        if results is None or results.get("config_hash") != self.config_hash:
            return None
        return results if results.get("status") in (ENDED[:1] if self.test else ENDED) else None

    def read_record(self) -> Results:
        """Return run.json, written when the run started: hashes, command and W&B id; {} before that."""
        record = read_json(self.path / "run.json")
        self._refuse_other(record)
        return record or {}

    def _refuse_other(self, record: Results | None) -> None:
        if record is not None and not self.adopt and record.get("config_hash") != self.config_hash:
            raise UserError(
                f"{self.path}: holds another configuration ({record.get('config_hash')}, not {self.config_hash}; "
                "see its config.yaml). Choose another hydra.run.dir."
            )

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Lock the directory inside the block, and remove it afterwards where it is empty.

        Raises UserError where another process has the lock.
        """
        made = find_missing_folders(self.path)
        try:
            lock = self._lock()
        except OSError:
            remove_empty(made)
            raise
        try:
            yield
        finally:
            if os.listdir(self.path) == [".lock"]:
                (self.path / ".lock").unlink()
                remove_empty([self.path, *made])
            lock.close()

    def _lock(self) -> BinaryIO:
        name = self.path / ".lock"
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock = name.open("ab")
            except FileNotFoundError:  # another process has just removed the directory
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                raise UserError(f"{self.path}: another process is training this run; wait until it ends.") from None
            try:
                if os.stat(name).st_ino == os.fstat(lock.fileno()).st_ino:
                    return lock
            except FileNotFoundError:
                pass
            lock.close()

    def clear(self) -> None:
        """Delete the files that a run has written here (fresh=true), and nothing else.

        Raises UserError, before anything is deleted, where the directory holds a file or folder that no run writes, or
        files but no run.json.
        """
        record = read_json(self.path / "run.json") or {}
        written = self._written(str(record.get("wandb_id")))
        foreign = sorted(entry.name for entry in self.path.iterdir() if entry not in written)
        foreign += sorted(
            f"{folder.name}/{entry.name}"
            for folder, contents in written.items()
            if contents is not None and folder.is_dir()
            for entry in folder.iterdir()
            if entry not in contents
        )
        marked = {"config_hash", "code_hash"} <= record.keys()
        present = [entry for entry in written if entry.exists() and entry.name != ".lock"]
        if foreign or (present and not marked):
            what = f"holds {', '.join(foreign[:3])}{', …' * (len(foreign) > 3)}, which no run writes"
            raise UserError(
                f"{self.path}: {what if foreign else 'holds files, but no run.json of a run'}; fresh=true deletes "
                "only the files of a run. Choose another hydra.run.dir, or delete by hand what you do not need."
            )
        for entry, contents in written.items():
            for inner in contents or ():
                shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink(missing_ok=True)
            if contents is not None and entry.is_dir():
                entry.rmdir()
            elif entry.name not in (".lock", "run.json"):
                entry.unlink(missing_ok=True)
        (self.path / "run.json").unlink(missing_ok=True)  # last: without it, a second clear() would refuse the rest

    def _written(self, wandb_id: str) -> dict[Path, set[Path] | None]:
        """Return the files of a run (with None) and its folders, each with those of its entries that a run writes."""
        files = [*FILES, *(entry.name for entry in self.path.iterdir() if SCRATCH.fullmatch(entry.name))]
        found: dict[Path, set[Path] | None] = {self.path / name: None for name in files}
        for name, pattern in FOLDERS.items():
            folder = self.path / name
            if folder.is_dir() and not folder.is_symlink():
                known = re.compile(pattern.replace("<id>", re.escape(wandb_id)))
                found[folder] = {entry for entry in folder.iterdir() if known.fullmatch(entry.name)}
        return found

    def get_wandb_id(self) -> str:
        """Return the id of this run at W&B, made once and kept, so that a resumed run continues there too."""
        self._wandb_id = self._wandb_id or self.read_record().get("wandb_id") or uuid.uuid4().hex[:12]
        return self._wandb_id

    def choose_command(self, typed: str) -> str:
        """Return the command that made this configuration: the first one, or the `resume=…` that changed it."""
        return typed if self.adopt else self.read_record().get("command", typed)

    def start(self, config: TrainConfig, command: str) -> None:
        """Write config.yaml and run.json; a run that is resumed keeps its W&B id and its first command."""
        from omegaconf import OmegaConf

        checkpoints = self.path / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        scratch = [file for file in self.path.glob(".*.tmp") if SCRATCH.fullmatch(file.name)]
        for file in chain(scratch, checkpoints.glob(".*.ckpt.*.tmp")):
            file.unlink()
        facts = {"command": self.choose_command(command), "wandb_id": self.get_wandb_id()}
        facts |= {"config_hash": self.config_hash, "code_hash": self.code_hash}
        write_json(self.path / "run.json", facts)  # first: it marks the directory as a run's
        text = OmegaConf.to_yaml(OmegaConf.create(to_plain(config)))
        write_atomic(self.path / "config.yaml", text.encode())
        # the results of a failed attempt or of fewer epochs go last: on a full disk, nothing above may have worked
        (self.path / "results.json").unlink(missing_ok=True)

    def find_checkpoint_to_resume(self, anyway: bool) -> Path | None:
        """Return last.ckpt, or None where there is none.

        Raises UserError where other code has written it, unless resume_anyway=true.
        """
        if not self.last.exists():
            return None
        written_by = self.read_record().get("code_hash")
        if written_by != self.code_hash and not anyway:
            anew = (
                "" if self.adopt else "Start over with fresh=true, or "
            )  # never with resume=…, of another's directory
            raise UserError(
                f"{self.path}: was started by other code ({written_by}, now {self.code_hash}), so its results would "
                f"belong to neither. {anew}{'C' if self.adopt else 'c'}ontinue with resume_anyway=true."
            )
        if written_by != self.code_hash:
            self.code_hash = MIXED
        return self.last
