"""The run directory *is* its config: identity, lock, resume, results.json and provenance.

A run's directory is named by the hash of what makes its result: the identity leaves of the configuration that differ
from the neutral defaults, and the content of the data. The same command therefore finds its own directory again.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from src.config import ModelConfig, TrainConfig, default_of
from src.errors import UserError
from src.registry import row

SOURCES = (  # what a result depends on
    "models",
    "data",
    "tasks",
    "averaging.py",
    "graph.py",
    "optim.py",
    "muon.py",
    "finetune.py",
    "losses.py",
    "metrics.py",
    "multilabel_metrics.py",
    "trainer.py",
    "coco_eval.py",
)

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
SCRATCH = re.compile(r"\.({})\.\d+\.tmp".format("|".join(map(re.escape, FILES))))  # of a process that was killed
FOLDERS = {  # of a run directory, with the names of what a run writes there
    "checkpoints": r"\.?(last|best)\.ckpt(\.\d+\.tmp)?",
    "pictures": r"\.?epoch_\d+\.png(\.\d+\.tmp)?",
    "tensorboard": r"events\.out\.tfevents\..*",
    "wandb": r"(offline-)?run-\d+_\d+-<id>|latest-run|debug(-\w+)*\.log",
}

MIXED = "mixed"  # in place of the code's hash: a run that one code began and another continued
ENDED = ("finished", "untested")  # a run's status in results.json; the other one is "failed"


def identity(config: Any, prefix: str = "") -> dict[str, Any]:
    """The identity leaves of a dataclass tree that differ from its neutral defaults, by dotted name."""
    leaves: dict[str, Any] = {}
    if isinstance(config, ModelConfig):
        leaves[f"{prefix}family"] = config.family  # a user's own name may change its family
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            leaves |= identity(value, f"{prefix}{f.name}.")
        elif f.metadata["identity"] and value != default_of(f):
            leaves[prefix + f.name] = value
    return leaves


def config_hash(config: TrainConfig, data_content: str) -> str:
    """Ten hexadecimal digits that name a run: of its identity leaves and its data's content."""
    leaves = identity(config) | {"data.content": data_content}
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()[:10]


def plain(config: TrainConfig) -> dict[str, Any]:
    """A configuration as plain values, as it is stored; with the model's family, which says how to read it again."""
    stored = asdict(config)
    stored["model"]["family"] = config.model.family
    return stored


def code_hash() -> str:
    """Ten hexadecimal digits of the sources that a result depends on."""
    root = Path(__file__).parent
    files = sorted(
        p for name in SOURCES for p in ([root / name] if name.endswith(".py") else (root / name).rglob("*.py"))
    )
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:10]


def default_path(config: TrainConfig, name: str) -> Path:
    """``<output_root>/<data>/<model>/<task>-seed<seed>-<hash>``."""
    return Path(config.output_root, config.data.name, config.model.name, f"{config.task.name}-seed{config.seed}-{name}")


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write a file completely or not at all: beside its place, flushed to the disk, then renamed."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself reaches the disk
    finally:
        os.close(folder)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary as JSON, atomically; numbers that JSON lacks (nan, inf) become null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not abs(value) < float("inf") else value

    text = json.dumps(plain(content), indent=2, allow_nan=False) + "\n"
    write_atomic(path, text.encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The dictionary in a JSON file, or None where there is no such file; a damaged one raises UserError."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); mend or delete it, or start over with fresh=true") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object; mend or delete it, or start over with fresh=true")
    return content


class Run:
    """A run directory: what it holds, and whether this process may write there."""

    def __init__(self, path: Path, config_hash: str, *, adopt: bool = False, test: bool = True) -> None:
        """`adopt` takes over a directory of another configuration (resume=…) instead of refusing it; without `test`,
        a run is at its end before its test."""
        self.path = path
        self.adopt = adopt
        self.test = test
        self.config_hash = config_hash
        self.code_hash = code_hash()
        self._wandb_id: str | None = None

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    def results(self) -> dict[str, Any] | None:
        """results.json of the finished run, or None; a directory of another config raises UserError."""
        results = read_json(self.path / "results.json")
        self._refuse_other(results)
        if results is None or results.get("config_hash") != self.config_hash:
            return None
        return results if results.get("status") in (ENDED[:1] if self.test else ENDED) else None

    def record(self) -> dict[str, Any]:
        """What was written when the run started (run.json): hashes, command, W&B id; {} before that."""
        record = read_json(self.path / "run.json")
        self._refuse_other(record)
        return record or {}

    def _refuse_other(self, record: dict[str, Any] | None) -> None:
        if record is not None and not self.adopt and record.get("config_hash") != self.config_hash:
            raise UserError(
                f"{self.path}: holds another configuration ({record.get('config_hash')}, not {self.config_hash}; "
                "see its config.yaml). Choose another hydra.run.dir."
            )

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep every other process out while this one works here; a directory left without content is removed."""
        made = missing(self.path)
        lock = self._lock()
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
            except FileNotFoundError:  # its holder has just removed the directory
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                raise UserError(f"{self.path}: another process is training this very run; wait for it.") from None
            try:
                if os.stat(name).st_ino == os.fstat(lock.fileno()).st_ino:
                    return lock
            except FileNotFoundError:
                pass
            lock.close()

    def clear(self) -> None:
        """Delete what a run has written here (fresh=true), and nothing else.

        Raises UserError, before anything is deleted, where a file or folder lies here that no run writes, and where
        the directory has files but is not marked as a run's.
        """
        written = self._written(str((read_json(self.path / "run.json") or {}).get("wandb_id")))
        strangers = sorted(entry.name for entry in self.path.iterdir() if entry not in written)
        strangers += sorted(
            f"{folder.name}/{entry.name}"
            for folder, contents in written.items()
            if contents is not None and folder.is_dir()
            for entry in folder.iterdir()
            if entry not in contents
        )
        marked = {"config_hash", "code_hash"} <= (read_json(self.path / "run.json") or {}).keys()
        present = [entry for entry in written if entry.exists() and entry.name != ".lock"]
        if strangers or (present and not marked):
            what = f"holds {', '.join(strangers[:3])}{', …' * (len(strangers) > 3)}, which no run writes"
            raise UserError(
                f"{self.path}: {what if strangers else 'holds files, but none marks it as a run'}; fresh=true deletes "
                "only what a run has written. Choose another hydra.run.dir, or delete by hand what may go."
            )
        for entry, contents in written.items():
            for inner in contents or ():
                shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink(missing_ok=True)
            if contents is not None and entry.is_dir():
                entry.rmdir()
            elif entry.name not in (".lock", "run.json"):
                entry.unlink(missing_ok=True)
        (self.path / "run.json").unlink(missing_ok=True)  # last: without its marker, the rest could not be cleared

    def _written(self, wandb_id: str) -> dict[Path, set[Path] | None]:
        """What a run writes into its directory: files (None), and folders with what of theirs is a run's."""
        files = [*FILES, *(entry.name for entry in self.path.iterdir() if SCRATCH.fullmatch(entry.name))]
        found: dict[Path, set[Path] | None] = {self.path / name: None for name in files}
        for name, pattern in FOLDERS.items():
            folder = self.path / name
            if folder.is_dir() and not folder.is_symlink():
                known = re.compile(pattern.replace("<id>", re.escape(wandb_id)))
                found[folder] = {entry for entry in folder.iterdir() if known.fullmatch(entry.name)}
        return found

    def wandb_id(self) -> str:
        """The id of this run at W&B; made once and kept, so that a resumed run continues there too."""
        self._wandb_id = self._wandb_id or self.record().get("wandb_id") or uuid.uuid4().hex[:12]
        return self._wandb_id

    def command(self, typed: str) -> str:
        """The command that made this configuration: the first one, or the `resume=…` that changed it."""
        return typed if self.adopt else self.record().get("command", typed)

    def start(self, config: TrainConfig, command: str) -> None:
        """Write config.yaml and run.json; a run that is resumed keeps its W&B id and its first command."""
        from omegaconf import OmegaConf

        checkpoints = self.path / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        scratch = [file for file in self.path.glob(".*.tmp") if SCRATCH.fullmatch(file.name)]
        for file in chain(scratch, checkpoints.glob(".*.ckpt.*.tmp")):
            file.unlink()
        facts = {"command": self.command(command), "wandb_id": self.wandb_id()}
        facts |= {"config_hash": self.config_hash, "code_hash": self.code_hash}
        write_json(self.path / "run.json", facts)  # first: it marks the directory as a run's
        text = OmegaConf.to_yaml(OmegaConf.create(plain(config)))
        write_atomic(self.path / "config.yaml", text.encode())
        # of an attempt that failed, or of fewer epochs: last, for a full disk may leave no more than that
        (self.path / "results.json").unlink(missing_ok=True)

    def checkpoint_to_resume(self, anyway: bool) -> Path | None:
        """last.ckpt where there is one; written by other code, it is refused unless asked for (resume_anyway=true)."""
        if not self.last.exists():
            return None
        written_by = self.record().get("code_hash")
        if written_by != self.code_hash and not anyway:
            raise UserError(
                f"{self.path}: was started by other code ({written_by}, now {self.code_hash}), so its end would belong "
                "to neither. Start over with fresh=true, or continue with resume_anyway=true."
            )
        if written_by != self.code_hash:
            self.code_hash = MIXED
        return self.last


def missing(path: Path) -> list[Path]:
    """The directories, deepest first, that would have to be made for this one to exist."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def remove_empty(folders: list[Path]) -> None:
    """Remove directories, deepest first, as far as they exist and are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            if folder.exists():
                folder.rmdir()


def load_config(path: Path) -> Any:
    """The stored configuration of a run directory, type-checked again; UserError where there is none."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    file = path / "config.yaml"
    if not file.exists():
        raise UserError(f"{path}: no run directory (it holds no config.yaml)")
    try:
        return restored(OmegaConf.load(file))
    except (OmegaConfBaseException, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{file}: cannot be read as a configuration ({error})") from None


def restored(stored: Any) -> Any:
    """A stored configuration on its schema: the model's family checks it again, as at its first reading.

    What was said about one start (fresh, resume …) is not part of what is restored.
    """
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(stored)
    schema = OmegaConf.structured(TrainConfig)
    schema.model = OmegaConf.structured(type(row(content["model"].pop("family"))))
    once: dict[str, Any] = {"fresh": False, "resume": None, "resume_anyway": False, "debug": False}
    once |= {"preflight": "check", "preflight_memory": None, "test": True}
    return OmegaConf.merge(schema, content, once)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint of a run directory (best.ckpt where that was the protocol), or the file itself."""
    if path.is_file():
        return path
    name = "best" if load_config(path).protocol == "best_val" else "last"
    return path / "checkpoints" / f"{name}.ckpt"


def same_command(*, fresh: bool) -> str:
    """What to type to go on with what was stopped: fresh=true would start over once more."""
    return "the same command without fresh=true" if fresh else "the same command"


def command_line() -> str:
    """The command as it was typed, to be pasted again."""
    import shlex

    module = sys.modules["__main__"].__spec__
    program = f"-m {module.name}" if module else shlex.quote(sys.argv[0])
    return " ".join(["python", program, *map(shlex.quote, sys.argv[1:])])


def has_wandb_key() -> bool:
    """True where W&B would find a key: in the environment or, under one of its names, in the user's netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return any(host in netrc.read_text() for host in ("api.wandb.ai", "api.forge.coreweave.com"))
    except OSError:
        return False
