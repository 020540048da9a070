"""Checkpoints: tensors and plain values, written completely or not at all, and checked when they are read."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TypedDict, cast

from lightning.fabric.plugins import CheckpointIO
from torch import Tensor, nn

from ..cli.console import say
from ..data.info import Normalization
from ..errors import UserError
from ..files import Json, explain_os_error
from ..runs.archive import DamagedError, read_archive, write_archive
from ..runs.results import read_metrics


class StoredInfo(TypedDict):
    """The facts of the data set, as a checkpoint stores them."""

    classes: tuple[str, ...]
    channels: int


class Checkpoint(TypedDict, total=False):
    """The content of a checkpoint of ours, as far as it is read by name."""

    state_dict: dict[str, Tensor]
    callbacks: dict[str, Json]
    config: Json
    info: StoredInfo
    data_fingerprint: str
    normalization: Normalization
    config_hash: str
    code_hash: str
    threshold: float | None


KINDS: dict[str, type | tuple[type, ...]] = {  # of what is read by name, wherever a checkpoint has it
    "state_dict": dict,
    "callbacks": dict,
    "config": dict,
    "info": dict,
    "info.classes": (list, tuple),
    "info.channels": int,
    "normalization": dict,
    "normalization.name": str,
    "normalization.mean": (list, tuple),
    "normalization.std": (list, tuple),
    "optimizer_states": list,
    "lr_schedulers": list,
    "loops": dict,
    "epoch": int,
    "global_step": int,
}


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints completely or not at all, and read them without running code (`weights_only`)."""

    def save_checkpoint(
        self, checkpoint: dict[str, object], path: str | PathLike[str], storage_options: object = None
    ) -> None:
        Path(path).parent.mkdir(exist_ok=True)
        write_archive(Path(path), checkpoint)

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: object = "cpu", weights_only: bool | None = None
    ) -> dict[str, object]:
        return cast(dict[str, object], load_checkpoint(Path(path)))

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        Path(path).unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint's tensors and plain values.

    Raises DamagedError where it is damaged or holds code, and UserError where it is missing or cannot be read.
    """
    try:
        content = read_archive(path)
        if wrong := find_wrong_part(content):
            raise DamagedError(f"{path}: damaged, or not written by us ({wrong})")
        return upgrade_checkpoint(cast(Checkpoint, content))
    except DamagedError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise UserError(explain_os_error(error, path)) from None
    except Exception as error:  # a damaged zip raises anything from EOFError to RuntimeError
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = "it is no file of torch.save, or holds code" if "weights_only" in reason else reason
        raise DamagedError(f"{path}: damaged, or not written by us ({reason})") from None


def find_wrong_part(content: object) -> str:
    """Return what is wrong with the content of a checkpoint, or "" where all its parts have the right type."""
    if not isinstance(content, dict) or "state_dict" not in content:
        return "there is no state_dict in it"
    for name, kind in KINDS.items():
        outer, _, inner = name.rpartition(".")
        part = content.get(outer) if outer else content
        if isinstance(part, dict) and (inner in part or outer):
            value = part.get(inner)
            if not isinstance(value, kind) or isinstance(value, bool):
                return f"its {name} is {'missing' if value is None else f'of the type {type(value).__name__}'}"
    state = content["state_dict"]
    odd = [name for name, value in state.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if odd:
        return f"{odd[0]} is no tensor"
    if not is_small_tree(content.get("config")):
        return "its config is endless"
    if not all(isinstance(name, str) for name in content.get("info", {}).get("classes", ())):
        return "its info.classes are no names"
    return ""


def is_small_tree(content: object, most: int = 100_000) -> bool:
    """Return whether nested dictionaries and lists unfold to few values; those that hold themselves never end."""
    waiting = [content]
    while waiting and most:
        value, most = waiting.pop(), most - 1
        if isinstance(value, dict | list | tuple):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return not waiting


def load_newest(paths: Sequence[Path]) -> tuple[Path, Checkpoint] | None:
    """Load the first of these checkpoints that is whole, and say which of those before it are damaged.

    Returns None where there are none. Raises UserError where all are damaged.
    """
    damaged: list[str] = []
    for path in paths:
        try:
            checkpoint = load_checkpoint(path)
        except DamagedError as error:
            damaged.append(str(error))
            continue
        if damaged:
            say("\n".join(damaged))
        return path, checkpoint
    if damaged:
        raise UserError(f"{'; '.join(damaged)}. The run's own command with fresh=true starts over.")
    return None


def count_epochs(checkpoint: Checkpoint, path: Path) -> int:
    """Return the epochs behind a checkpoint; one of an earlier version leaves that to the run's metrics.csv."""
    history: object = checkpoint.get("callbacks", {}).get("History")
    rows = history.get("rows") if isinstance(history, dict) else None
    return len(rows if isinstance(rows, list) else read_metrics(path / "metrics.csv"))


def upgrade_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """Pass the state of version 0.1's single callback on to the callbacks that have its duties now."""
    states = checkpoint.get("callbacks", {})
    if (old := states.pop("RunKeeper", None)) is not None:
        states["Saving"] = {"best": old["best"]}
        states["History"] = {"epoch_seconds": 0.0, "epoch_batches": 0} | {k: v for k, v in old.items() if k != "best"}
    return checkpoint


def extract_network_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the network's state from a checkpoint of ours: the averaged weights where there are any."""
    state = checkpoint["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def load_network(network: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Load a checkpoint's weights into its network; raise UserError where they do not fit."""
    try:
        network.load_state_dict(extract_network_weights(checkpoint))
    except RuntimeError:
        raise DamagedError(f"{path}: damaged (its weights are not those of its own configuration)") from None
