"""Evaluate a run again: ``python -m src.evaluate run=<directory or checkpoint> [split=test|val|train] [any override]``.

All settings come from the checkpoint. `data.root=…` says where the data is now, and `data=<set>` evaluates on another
data set. The arithmetic is fp32, and pixels are scaled as in training.

Or measure anybody's weights without a training: ``python -m src.evaluate model=resnet20 data=cifar10
weights=<file or name> [out=<run directory>] [any setting]``. The weights are checked against the data, and the result
lies in a run directory, as a training's.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .cli.console import say, show_step
from .cli.main import main, print_help
from .errors import UserError

if TYPE_CHECKING:
    from .training.assemble import Assembly
    from .training.checkpoints import Checkpoint

SPLITS = ("test", "val", "train")


def run_command() -> int:
    """Evaluate the run that the command line names, and print its table."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    if alone := next((word for word in words if "=" not in word and not word.startswith(("~", "-"))), None):
        raise UserError(f"{alone}: type python -m src.evaluate run={alone}")
    named = dict(word.split("=", 1) for word in words if word.startswith(("run=", "split=")))
    overrides = [word for word in words if not word.startswith(("run=", "split="))]
    if (weights := next((word.split("=", 1)[1] for word in words if word.startswith("weights=")), None)) is not None:
        return evaluate_others(weights, named, overrides)
    if not named.get("run"):
        raise UserError("run= is missing; type the run's directory or checkpoint: python -m src.evaluate run=last")
    evaluate(Path(named["run"]), split=named.get("split", "test"), overrides=overrides)
    return 0


def evaluate_others(weights: str, named: dict[str, str], words: list[str]) -> int:
    """Measure weights without a training, as the words of the command line say."""
    if not weights:
        raise UserError("weights=: name a file or published weights (docs/transfer.md)")
    if named:
        raise UserError(f"weights={weights} and {next(iter(named))}=: choose one; weights are measured on the test set")
    given = {word.partition("=")[0] for word in words}
    if absent := [name for name in ("model", "data") if name not in given]:
        raise UserError(f"{absent[0]}= is missing; type python -m src.evaluate model=resnet20 data=cifar10 weights=…")
    from .inference.foreign import evaluate_weights

    out = next((word.partition("=")[2] for word in words if word.startswith("out=")), None)
    settings = [word for word in words if not word.startswith(("weights=", "out="))]
    evaluate_weights(weights, settings, Path(out) if out else None)
    return 0


def evaluate(path: Path, *, split: str = "test", overrides: list[str] | None = None) -> dict[str, float]:
    """Return metrics such as "test/accuracy" of a run's weights on a split, and print them as a table.

    Classes are matched by name. Raises UserError where there is no such run or split, where the data has other
    classes, or where a split other than train holds images that the run was trained on.
    """
    if split not in SPLITS:
        raise UserError(f"split={split}: choose one of: {', '.join(SPLITS)}")
    show_step("importing torch and lightning")
    from .training.messages import format_metrics
    from .training.reopen import assemble_trained, reopen
    from .training.trainer import build_trainer

    run = reopen(path, overrides)
    assembly = assemble_trained(run)
    config, data, task = assembly.config, assembly.data, assembly.task
    if not data.sizes.get(split):
        raise UserError(f"split={split}: this run has no such split (data.val_fraction={config.data.val_fraction})")
    others = check_split(assembly, run.checkpoint, run.path, split)
    trainer = build_trainer(config)
    try:
        trainer.test(task, data.eval_loader(split, trainer.strategy.root_device), verbose=False)
    except SystemExit:  # Lightning raises it after Ctrl-C and SIGTERM; after SIGTERM with the code of a success
        raise KeyboardInterrupt from None
    metrics = {name.replace("test/", f"{split}/"): value for name, value in task.epoch_metrics.items()}
    if trainer.is_global_zero:
        if others:
            say(others)
        say(f"{config.model.name} on {config.data.label}, {split}, {task.seen:,} images, fp32; {run.path}")
        print(format_metrics(metrics, config.task.name))
    return metrics


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
    cut = ("val_fraction", "split_seed", "test_fraction", "group")
    same_cut = all(stored.get(name) == getattr(data, name, None) for name in cut if name in stored)
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
