"""Evaluate a run again: ``python -m src.evaluate run=<directory or checkpoint> [split=test|val|train] [any override]``.

All settings come from the checkpoint. `data.root=…` says where the data is now, and `data=<set>` evaluates on another
data set. The arithmetic is fp32, and pixels are scaled as in training.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .cli.compose import apply_overrides, to_train_config
from .cli.console import say
from .cli.main import main
from .config.run import TrainConfig
from .errors import UserError
from .runs.archive import DamagedError
from .runs.stored import find_checkpoint, restore_config

if TYPE_CHECKING:
    from .training.assemble import Assembly
    from .training.checkpoints import Checkpoint, StoredInfo

SPLITS = ("test", "val", "train")


def run_command() -> int:
    """Evaluate the run that the command line names, and print its table."""
    words = sys.argv[1:]
    if not words or {"--help", "-h"} & set(words):
        print(__doc__)
        return 0 if words else 2
    named = dict(word.split("=", 1) for word in words if word.startswith(("run=", "split=")))
    overrides = [word for word in words if not word.startswith(("run=", "split="))]
    if not named.get("run"):
        raise UserError("run= is missing; type the run's directory or checkpoint: python -m src.evaluate run=outputs/…")
    evaluate(Path(named["run"]), split=named.get("split", "test"), overrides=overrides)
    return 0


def evaluate(path: Path, *, split: str = "test", overrides: list[str] | None = None) -> dict[str, float]:
    """Return metrics such as "test/accuracy" of a run's weights on a split, and print them as a table.

    Classes are matched by name. Raises UserError where there is no such run or split, where the data has other
    classes, or where a split other than train holds images that the run was trained on.
    """
    if split not in SPLITS:
        raise UserError(f"split={split}: choose one of: {', '.join(SPLITS)}")
    checkpoint_path = find_checkpoint(path)
    from omegaconf import DictConfig, OmegaConf

    checkpoint = load_checkpoint_to_evaluate(checkpoint_path)
    stored = restore_config(checkpoint["config"], checkpoint_path)
    here = {
        "accelerator": "auto",
        "devices": None,
        "num_nodes": 1,
        "strategy": "auto",
        "limit_test_batches": None,
        "graph": "none",
    }
    over = {"trainer": here, "protocol": "last", "optim": {"schedule": "constant", "ema": 0.0}}
    config = to_train_config(apply_overrides(cast(DictConfig, OmegaConf.merge(stored, over)), overrides or []))
    return evaluate_checkpoint(config, checkpoint, checkpoint_path, split)


def load_checkpoint_to_evaluate(path: Path) -> "Checkpoint":
    """Load a checkpoint of ours; raise UserError for any other, and name another one beside it for a damaged one."""
    from .training.checkpoints import load_checkpoint

    try:
        checkpoint = load_checkpoint(path)
    except DamagedError as error:
        others = [path.with_name(f"{name}.ckpt") for name in ("last", "previous", "best")]
        beside = " or ".join(str(other) for other in others if other != path and other.exists())
        raise UserError(f"{error}" + (f"; type run={beside} for another state of the run" if beside else "")) from None
    if absent := [name for name in ("config", "info", "normalization") if name not in checkpoint]:
        raise UserError(f"{path}: no checkpoint of ours (it has no {absent[0]})")
    return checkpoint


def evaluate_checkpoint(config: TrainConfig, checkpoint: "Checkpoint", path: Path, split: str) -> dict[str, float]:
    """Run the network of a checkpoint over a split and print the table."""
    from .training.assemble import assemble
    from .training.checkpoints import load_network
    from .training.messages import format_metrics
    from .training.settle import settle
    from .training.trainer import build_trainer

    as_trained = replace(config.data, normalize="weights")
    assembly = assemble(settle(replace(config, data=as_trained), continued=True), checkpoint=checkpoint)
    trained, found = list(checkpoint["info"]["classes"]), list(assembly.data.info.classes)
    if trained != found and sorted(trained) == sorted(found):  # labels are numbers, in the order of the training
        as_trained = replace(as_trained, classes=trained)
        assembly = assemble(settle(replace(config, data=as_trained), continued=True), checkpoint=checkpoint)
    check_classes(checkpoint["info"], assembly)
    config, data, task = assembly.config, assembly.data, assembly.task
    if not data.sizes.get(split):
        raise UserError(f"split={split}: this run has no such split (data.val_fraction={config.data.val_fraction})")
    others = check_split(assembly, checkpoint, path, split)
    load_network(assembly.network, checkpoint, path)
    task.adopt(checkpoint)
    trainer = build_trainer(config)
    try:
        trainer.test(task, data.eval_loader(split, trainer.strategy.root_device), verbose=False)
    except SystemExit:  # Lightning raises it after Ctrl-C and SIGTERM; after SIGTERM with the code of a success
        raise KeyboardInterrupt from None
    metrics = {name.replace("test/", f"{split}/"): value for name, value in task.epoch_metrics.items()}
    if trainer.is_global_zero:
        if others:
            say(others)
        say(f"{config.model.name} on {config.data.name}, {split}, {task.seen:,} images, fp32; {path}")
        print(format_metrics(metrics, config.task.name))
    return metrics


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


def check_split(assembly: "Assembly", checkpoint: "Checkpoint", path: Path, split: str) -> str:
    """Look at the photos of a split; return a sentence where they are others than those of the run, else "".

    Raises UserError where val or test then holds images that the run was trained on.
    """
    from .data.build import find_photo_folders
    from .data.photos.look import look_at_photos
    from .data.photos.manifest import MANIFEST, find_others, read_manifest

    data, stored = assembly.config.data, checkpoint["config"]["data"]
    files = {name: files for name, files in assembly.data.list_photos().items() if name == split}
    before = read_manifest(path.absolute().parent.parent / MANIFEST)
    others, trained = find_others(before, look_at_photos(files, find_photo_folders(data), before), split)
    if trained and split != "train":
        raise UserError(
            f"split={split}: {len(trained):,} of its photos are those that the run was trained on (the first is "
            f"{trained[0]}), for the data or data.val_fraction and data.split_seed have changed since; give them back"
        )
    same_set = data.name == stored["name"]
    same_content = checkpoint.get("data_fingerprint", assembly.settled.content) == assembly.settled.content
    same_cut = all(stored[name] == getattr(data, name) for name in ("val_fraction", "split_seed"))
    if split == "val" and same_set and not (before and files) and not (same_content and same_cut):
        raise UserError(
            "split=val: the data, or data.val_fraction and data.split_seed, are not those of the run, so it would hold "
            "images that the run was trained on; give them back"
        )
    if not others and same_set and same_content:
        return ""
    differ = f": {len(others):,} photo{'s differ' if len(others) > 1 else ' differs'}" if others else ""
    return f"The {split} images are not those of the run{differ}."


if __name__ == "__main__":
    main(run_command)
