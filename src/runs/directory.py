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
from ..files import find_missing_folders, keep_second_name, read_json, remove_empty, write_atomic, write_json
from .identity import compute_code_hash, to_plain
from .results import Results, find_damage

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
    "data.csv.gz",
    "trust.json",
    "trust.html",
)


SCRATCH = re.compile(r"\.({})\.\d+\.tmp".format("|".join(map(re.escape, FILES))))  # left by a killed process
FOLDERS = {  # of a run directory, with the names of the files that a run writes there
    "checkpoints": r"\.?(last|previous|best|epoch_\d+)\.ckpt(\.\d+\.tmp)?",
    "pictures": r"\.?(epoch_\d+|test)\.png(\.\d+\.tmp)?",
    "probes": r"\.?\w+\.(svg|csv)(\.\d+\.tmp)?",
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
        self._lock_inode: int | None = None

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def previous(self) -> Path:
        """The last.ckpt before the one of that name, for the day on which that is damaged."""
        return self.path / "checkpoints" / "previous.ckpt"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    def find_results(self) -> Results | None:
        """Return results.json of the ended run, or None; raise UserError for a directory of another configuration."""
        advice = "delete it, and the same command tests the run again"
        results = read_json(self.path / "results.json", advice)
        self._refuse_other("results.json", results, advice)
        earlier = self._has_earlier()
        if not earlier and (results is None or results.get("config_hash") != self.config_hash):
            return None
        if earlier and (results or {}).get("status") not in ENDED:
            raise UserError(
                f"{self.path}: was continued with other settings since, and has not finished; continue it by: "
                f"{self.read_record()['command']}"
            )
        if results is None or results.get("status") not in (ENDED[:1] if self.test else ENDED):
            return None
        if damage := find_damage(results):
            raise UserError(f"{self.path / 'results.json'}: damaged ({damage}); {advice}")
        return results

    def read_record(self) -> Results:
        """Return run.json, written when the run started: hashes, command and W&B id; {} before that."""
        advice = "delete it, and resume_anyway=true continues from the last checkpoint"
        record = read_json(self.path / "run.json", advice)
        self._refuse_other("run.json", record, advice)
        return record or {}

    def find_data_fingerprint(self) -> str | None:
        """Return the fingerprint of the data that this run was trained on; None where it was not, or none is kept."""
        record, results = self.read_record(), read_json(self.path / "results.json") or {}
        kept = self.last.exists() or self.previous.exists()
        if not kept and results.get("status") not in ENDED:
            return None
        return record.get("data_fingerprint") or results.get("data_fingerprint") or None

    def _refuse_other(self, name: str, record: Results | None, advice: str) -> None:
        if record is None:
            return
        words = ("config_hash", "code_hash", "command", *(("wandb_id",) if name == "run.json" else ()))
        if odd := next((word for word in words if not isinstance(record.get(word, ""), str)), None):
            raise UserError(f"{self.path / name}: damaged ({odd} is no text); {advice}")
        if "config_hash" not in record:
            raise UserError(f"{self.path / name}: damaged (config_hash is missing); {advice}")
        if not self.adopt and record["config_hash"] != self.config_hash and not self._has_earlier():
            raise UserError(
                f"{self.path}: holds another configuration ({record['config_hash']}, not {self.config_hash}; "
                "see its config.yaml). Choose another hydra.run.dir."
            )

    def _has_earlier(self) -> bool:
        """Return whether a `resume=…` has continued the run of this configuration, so that it is another one now."""
        record = {} if self.adopt else read_json(self.path / "run.json") or {}
        earlier = record.get("earlier")
        return (
            self.config_hash != record.get("config_hash") and isinstance(earlier, list) and self.config_hash in earlier
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
        self._lock_inode = os.fstat(lock.fileno()).st_ino
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the directory may have been deleted meanwhile
                if os.listdir(self.path) == [".lock"]:
                    (self.path / ".lock").unlink()
                    remove_empty([self.path, *made])
            lock.close()

    def require_place(self) -> None:
        """Raise UserError where the directory was deleted, moved or taken by another process since it was locked."""
        if self._lock_inode is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self.path / ".lock").st_ino != self._lock_inode:
                raise UserError(f"{self.path}: was deleted, and another process trains this run there now.")
        if not self.path.is_dir():
            raise UserError(f"{self.path}: was deleted or moved while the run trained; the same command begins again.")

    def _lock(self) -> BinaryIO:
        name = self.path / ".lock"
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            if name.is_symlink() or (name.exists() and not name.is_file()):
                raise UserError(f"{name}: is no file, so that the run cannot be locked; move it away")
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
        record = read_json(self.path / "run.json", "move it away, and choose another hydra.run.dir") or {}
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

    def start(self, config: TrainConfig, command: str, data_fingerprint: str = "") -> None:
        """Write config.yaml and run.json; a run that is resumed keeps its W&B id and its first command."""
        from omegaconf import OmegaConf

        checkpoints = self.path / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        scratch = [file for file in self.path.glob(".*.tmp") if SCRATCH.fullmatch(file.name)]
        for file in chain(scratch, checkpoints.glob(".*.ckpt.*.tmp")):
            file.unlink()
        before = self.read_record()
        earlier = {str(name) for name in (*before.get("earlier", ()), before.get("config_hash", "")) if name}
        earlier -= {self.config_hash}
        facts: Results = {"command": self.choose_command(command), "wandb_id": self.get_wandb_id()}
        facts |= {"config_hash": self.config_hash, "code_hash": self.code_hash}
        facts |= {"data_fingerprint": data_fingerprint}
        facts |= {"earlier": sorted(earlier)} if earlier else {}  # configurations whose commands find this run
        text = OmegaConf.to_yaml(OmegaConf.create(to_plain(config)))
        self._record = (facts, text.encode())
        self.write_record()
        # the results of a failed attempt or of fewer epochs go last: on a full disk, nothing above may have worked
        for name in ("trust.json", "trust.html", "results.json"):
            (self.path / name).unlink(missing_ok=True)

    def write_record(self, *, missing: bool = False) -> None:
        """Write what names the run, run.json and config.yaml; with `missing` only what was deleted meanwhile."""
        facts, config = self._record
        if not (missing and (self.path / "run.json").exists()):
            write_json(self.path / "run.json", facts)  # first: it marks the directory as a run's
        if not (missing and (self.path / "config.yaml").exists()):
            write_atomic(self.path / "config.yaml", config)

    def keep_previous(self) -> None:
        """Give last.ckpt, which is about to be replaced, the name previous.ckpt as well."""
        keep_second_name(self.last, self.previous)

    def keep_epoch(self, epoch: int) -> None:
        """Give last.ckpt a name of its own, which no later epoch replaces."""
        keep_second_name(self.last, self.path / "checkpoints" / f"epoch_{epoch:04d}.ckpt")

    def find_checkpoints_to_resume(self, anyway: bool) -> list[Path]:
        """Return last.ckpt and the one before it, as far as they exist.

        Raises UserError where other code has written them, unless resume_anyway=true.
        """
        found = [path for path in (self.last, self.previous) if path.exists()]
        if not found:
            return []
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
        return found
