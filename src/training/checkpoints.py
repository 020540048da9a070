"""Checkpoints: tensors and plain values, written completely or not at all."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from torch import Tensor

from ..errors import UserError
from ..files import write_atomic


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints completely or not at all, and read them without running code (`weights_only`)."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(exist_ok=True)
        write_atomic(Path(path), buffer.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint's tensors and plain values; raise UserError where it is missing, damaged, or holds code."""
    try:
        return upgrade_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except Exception as error:  # a damaged zip raises anything from EOFError to RuntimeError
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: damaged, or not written by us ({reason}). Start over with fresh=true.") from None


def upgrade_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Pass the state of version 0.1's single callback on to the callbacks that have its duties now."""
    states = checkpoint.get("callbacks", {})
    if (old := states.pop("RunKeeper", None)) is not None:
        states["Saving"] = {"best": old["best"]}
        states["History"] = {"epoch_seconds": 0.0, "epoch_batches": 0} | {k: v for k, v in old.items() if k != "best"}
    return checkpoint


def extract_network_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the network's state from a checkpoint of ours: the averaged weights where there are any."""
    state = checkpoint["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
