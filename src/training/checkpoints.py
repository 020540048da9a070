"""Checkpoints: tensors and plain values, written completely or not at all."""

import io
from os import PathLike
from pathlib import Path
from typing import TypedDict, cast

import torch
from lightning.fabric.plugins import CheckpointIO
from torch import Tensor

from ..data.info import Normalization
from ..errors import UserError
from ..files import Json, write_atomic


class StoredInfo(TypedDict):
    """The facts of the data set, as a checkpoint stores them."""

    classes: tuple[str, ...]
    channels: int


class Checkpoint(TypedDict, total=False):
    """The content of a checkpoint of ours, as far as it is read by name."""

    state_dict: dict[str, Tensor]
    callbacks: dict[str, dict[str, float]]
    config: Json
    info: StoredInfo
    data_fingerprint: str
    normalization: Normalization
    config_hash: str
    code_hash: str
    threshold: float | None


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints completely or not at all, and read them without running code (`weights_only`)."""

    def save_checkpoint(
        self, checkpoint: dict[str, object], path: str | PathLike[str], storage_options: object = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(exist_ok=True)
        write_atomic(Path(path), buffer.getbuffer())

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: object = "cpu", weights_only: bool | None = None
    ) -> dict[str, object]:
        return cast(dict[str, object], load_checkpoint(Path(path)))

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        Path(path).unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint's tensors and plain values; raise UserError where it is missing, damaged, or holds code."""
    try:
        return upgrade_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except Exception as error:  # a damaged zip raises anything from EOFError to RuntimeError
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: damaged, or not written by us ({reason}). Start over with fresh=true.") from None


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
