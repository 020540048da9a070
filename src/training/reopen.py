"""Open a run again, for whatever comes after training: its checkpoint, its settings, its data and its weights."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from ..cli.compose import apply_overrides, to_train_config
from ..config.run import TrainConfig
from ..errors import UserError
from ..runs.archive import DamagedError
from ..runs.find import OUTPUTS, resolve_run
from ..runs.stored import find_checkpoint, restore_config
from .assemble import Assembly, assemble
from .checkpoints import Checkpoint, StoredInfo, load_checkpoint, load_network
from .settle import settle

HERE = {  # what a run's own settings say of the machine that trained it, and what only a training needs
    "trainer": {
        "accelerator": "auto",
        "devices": None,
        "num_nodes": 1,
        "strategy": "auto",
        "limit_test_batches": None,
        "graph": "none",
    },
    "protocol": "last",
    "optim": {"schedule": "constant", "ema": 0.0},
}


@dataclass(frozen=True)
class Reopened:
    """A trained run: its checkpoint's path and content, and its settings for this machine."""

    path: Path
    checkpoint: Checkpoint
    config: TrainConfig


def reopen(path: Path, overrides: list[str] | None = None) -> Reopened:
    """Open the checkpoint of a run, or a checkpoint file, with its own settings and a person's overrides.

    A run is its directory, or a short name: last, best:<metric>, the first digits of its hash (src/runs/find.py).
    Raises UserError where there is none, where it is damaged, or for a wrong override.
    """
    for word in overrides or []:
        key = word.lstrip("+~").partition("=")[0]
        if key in ("model", "task") or (key.startswith("model.") and key != "model.checkpoint_activations"):
            raise UserError(f"{word}: a trained run keeps its network and its task; leave this out")
    roots = [word.split("=", 1)[1] for word in overrides or [] if word.startswith("output_root=")]
    checkpoint_path = find_checkpoint(resolve_run(str(path), roots[-1] if roots else OUTPUTS))
    checkpoint = load_own_checkpoint(checkpoint_path)
    stored = restore_config(checkpoint["config"], checkpoint_path)
    composed = cast(DictConfig, OmegaConf.merge(stored, HERE))
    return Reopened(checkpoint_path, checkpoint, to_train_config(apply_overrides(composed, overrides or [])))


def load_own_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint of ours; raise UserError for any other, and name another one beside it for a damaged one."""
    try:
        checkpoint = load_checkpoint(path)
    except DamagedError as error:
        others = [path.with_name(f"{name}.ckpt") for name in ("last", "previous", "best")]
        beside = " or ".join(str(other) for other in others if other != path and other.exists())
        raise UserError(f"{error}" + (f"; type run={beside} for another state of the run" if beside else "")) from None
    if absent := [name for name in ("config", "info", "normalization") if name not in checkpoint]:
        raise UserError(f"{path}: no checkpoint of ours (it has no {absent[0]})")
    return checkpoint


def assemble_trained(run: Reopened) -> Assembly:
    """Build the data, network and task of a run, with its weights; pixels are scaled as in training.

    Classes are matched by name. Raises UserError where the data has others.
    """
    checkpoint, as_trained = run.checkpoint, replace(run.config.data, normalize="weights")
    assembly = assemble(settle(replace(run.config, data=as_trained), continued=True), checkpoint=checkpoint)
    trained, found = list(checkpoint["info"]["classes"]), list(assembly.data.info.classes)
    if trained != found and sorted(trained) == sorted(found):  # labels are numbers, in the order of the training
        as_trained = replace(as_trained, classes=trained)
        assembly = assemble(settle(replace(run.config, data=as_trained), continued=True), checkpoint=checkpoint)
    check_classes(checkpoint["info"], assembly)
    load_network(assembly.network, checkpoint, run.path)
    assembly.task.adopt(checkpoint)
    return assembly


def check_classes(trained_on: "StoredInfo", assembly: "Assembly") -> None:
    """Refuse data with other classes, by name, or another number of channels."""
    config, info = assembly.config, assembly.data.info
    expected = trained_on["classes"]
    unknown, missing = (
        [name for name in some if name not in others]
        for some, others in ((info.classes, expected), (expected, info.classes))
    )
    if unknown or missing or len(expected) != info.num_classes:
        parts = [
            f"{what} {', '.join(map(repr, names[:5]))}{', …' * (len(names) > 5)}"
            for what, names in (("it has", unknown), ("it lacks", missing))
            if names
        ]
        raise UserError(
            f"data={config.data.name}: {info.num_classes} classes are not the {len(expected)} that the network was "
            f"trained on ({'; '.join(parts)}); name the folders alike, or set data.classes"
        )
    if trained_on["channels"] != info.channels:
        raise UserError(
            f"data={config.data.name}: {info.channels} channels, but the network was trained on "
            f"{trained_on['channels']}; set data.channels={trained_on['channels']}"
        )
