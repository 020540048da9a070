"""Measure published weights, or anybody's, without a training, and write a run directory that reports read."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ..cli.compose import compose_run
from ..cli.console import say
from ..config.run import TrainConfig
from ..data.normalization import make_normalization
from ..errors import UserError
from ..files import write_json
from ..machine.hardware import measure_peak_memory
from ..runs.archive import write_archive
from ..runs.directory import Run
from ..runs.identity import build_default_path, compute_config_hash, to_plain
from ..runs.results import Results
from ..runs.stored import read_command_line
from ..tasks.table import has_single_class
from ..text import quote
from ..training.assemble import Assembly, assemble
from ..training.fit import collect_facts, write_test
from ..training.messages import format_metrics
from ..training.settle import settle
from ..training.trainer import build_trainer
from .variants import AGREE, Variant, change_dials, choose_variant, describe_check, try_variants

CHANCE = 1.5  # an accuracy of less than so many times that of guessing is none
UNTRAINED = "measured, not trained"  # in the hash of a run directory: a training from the same weights is another run


def evaluate_weights(weights: str, words: Sequence[str], out: Path | None = None) -> Results:
    """Measure weights on the test set that the words of a command line name, and return results.json.

    `weights` is what model.weights= takes. The network is the typed one, unless its BatchNorms do not agree with the
    data and those of another padding, stride or scaling, which nobody has typed, do. Raises UserError for a wrong
    input, and for weights without a head for the data's classes.
    """
    config = compose_run(*words, f"model.weights={quote(weights)}")
    assembly = assemble(settle(config))
    note = assembly.notes[0]
    if "fresh: " in note:
        raise UserError(
            f"weights={weights}: brings no {note.rpartition('fresh: ')[2].rstrip('.')}, so there is nothing to "
            "measure; choose the data that it was trained on, with data= and data.classes=, or train: model.weights="
        )
    say(note)
    variants = try_variants(assembly.config, assembly.data, assembly.network)
    typed, (chosen, best) = variants[0], choose_variant(variants, list_fixed(words))
    say(describe_check(typed, chosen, best, assembly.config))
    if chosen is not typed:
        assembly = assemble_variant(assembly, chosen)
    check = {
        "as_typed": describe(typed),
        "measured": describe(chosen),
        "best": describe(best),
        "layers": typed.mismatch.layers,
    }
    return measure(assembly, out, {"weights": {"source": weights, "check": check}})


def list_fixed(words: Sequence[str]) -> list[str]:
    """Return the names of the settings that a person has typed, without their groups."""
    return [word.partition("=")[0].rpartition(".")[2] for word in words if "." in word.partition("=")[0]]


def describe(variant: Variant) -> Results:
    """Return a variant for results.json."""
    return {**dict(variant.dials), "normalize": variant.normalize, "distance": round(variant.distance, 4)}


def assemble_variant(assembly: Assembly, variant: Variant) -> Assembly:
    """Build the network of a variant with the same weights and data."""
    config = change_dials(assembly.config, dict(variant.dials))
    if variant.normalize != config.data.normalize:
        normalization = make_normalization(variant.normalize, assembly.data.info, torch.empty(0))
        assembly.data.normalization = normalization
        config = replace(config, data=replace(config.data, normalize=variant.normalize))
    return assemble(settle(config), data=assembly.data)


def measure(assembly: Assembly, out: Path | None, facts: Results) -> Results:
    """Test an assembled network, and write its run directory, with a checkpoint for whatever comes after."""
    config, data, task = assembly.config, assembly.data, assembly.task
    content = f"{assembly.settled.content} {UNTRAINED}"
    name = compute_config_hash(config, content)
    default = build_default_path(config, name)
    run = Run(out or default.with_name(f"{config.task.name}-weights-{name}"), name)
    trainer = build_trainer(config)
    with run.hold():
        run.start(config, read_command_line(), assembly.settled.content)
        save(assembly, run)
        try:
            trainer.test(task, data, verbose=False)
        except SystemExit:  # Lightning raises it after Ctrl-C and SIGTERM
            raise KeyboardInterrupt from None
        results = (
            collect_facts(assembly, run)
            | facts
            | {
                "n_train": 0,
                "n_val": 0,
                "status": "finished",
                "protocol": "last",
                "epochs": 0,
                "steps": 0,
                "metrics": dict(task.epoch_metrics),
                "time": {"fit_seconds": 0.0, "epoch_seconds": 0.0, "images_per_second": 0.0},
                "peak_memory_bytes": measure_peak_memory(config.trainer.accelerator),
                "wandb_id": None,
            }
        )
        write_test(assembly, run, results)
        write_json(run.path / "results.json", results)
    if told := explain_chance(config, results, facts["weights"]["check"], data.info.num_classes):
        say(told)
    say(f"{config.model.name} on {config.data.name}, test, {results['n_test']:,} images, fp32, not trained here")
    print(format_metrics(results["metrics"], config.task.name))
    say(str(run.path))
    return results


def explain_chance(config: TrainConfig, results: Results, check: Results, classes: int) -> str:
    """Say what is likely where the features agree with the data and the answers are no better than guesses; or ""."""
    accuracy = results["metrics"].get("test/accuracy")
    if accuracy is None or not has_single_class(config.task.name) or accuracy * classes > CHANCE:
        return ""
    if check["layers"] and check["measured"]["distance"] > AGREE:
        return ""
    return (
        f"Warning: {accuracy:.2%} is about what guessing gives, although the BatchNorms agree with the data: most "
        "likely the head names the classes in another order (data.classes=[…] sets the data's)."
    )


def save(assembly: Assembly, run: Run) -> None:
    """Write the weights as a checkpoint of ours, which src.predict, src.export and src.evaluate open."""
    state = {f"model.{name}": value for name, value in assembly.network.state_dict().items()}
    content = {
        "state_dict": state,
        "config": to_plain(assembly.config),
        "info": asdict(assembly.data.info),
        "normalization": assembly.data.normalization,
        "data_fingerprint": assembly.settled.content,
        "config_hash": run.config_hash,
        "code_hash": run.code_hash,
        "threshold": None,
    }
    write_archive(run.last, content)
