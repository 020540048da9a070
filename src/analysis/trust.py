"""Measure how far a run can be trusted, and keep it with the run: trust.json, and trust.html to look at.

The temperature is fitted on the validation images alone; the test is only measured. Nothing of the run itself changes.
"""

from pathlib import Path

from ..cli.console import say
from ..errors import UserError
from ..files import Json, explain_os_error, write_json
from ..training.assemble import Assembly
from ..training.reopen import Reopened, assemble_trained, reopen
from .corruption_error import find_published, measure_corruption_error, measure_published_error
from .logits import Answers, check_single_class, compute_answers
from .trust_numbers import Calibration, fit_temperature, measure_calibration, measure_conformal, measure_selective

LARGEST_SIDE = 64  # of images that are corrupted without being asked for [pixels]
OPEN = ("data.root", "data.workers", "data.download", "trainer.")  # overrides that leave the images as they were


def measure_run(
    path: Path,
    overrides: list[str],
    *,
    corruptions: bool | None = None,
    count: int | None = None,
    cifar_c: Path | None = None,
    seed: int = 0,
) -> Json:
    """Measure a run, write trust.json and trust.html beside its results, and return the numbers.

    ``corruptions`` measures the error on corrupted images, of ``count`` or all; None does so for small ones. Raises
    UserError for a run without classes, and where the images are not those of the run.
    """
    from .trust_page import write_page

    check_overrides(overrides)
    run = reopen(path, overrides)
    folder = find_folder(run.path)
    assembly = assemble_trained(run)
    check_single_class(assembly, "trust")
    check_same_images(run, assembly)
    found = measure_probabilities(assembly) | {"checkpoint": run.path.name}
    store(folder, found)
    published = find_published(assembly.config.data.name, getattr(assembly.config.data, "root", None), cifar_c)
    if corruptions or (corruptions is None and assembly.data.info.image_size <= LARGEST_SIDE):
        found["corruptions"] = measure_corruption_error(assembly, seed=seed, count=count)
        store(folder, found)
    if published:
        found["cifar_c"] = measure_published_error(assembly, published)
        store(folder, found)
    write_page(folder, assembly, found)
    return found


def check_overrides(overrides: list[str]) -> None:
    """Raise UserError for an override that could change the images or the network."""
    for word in overrides:
        if not word.startswith(OPEN):
            raise UserError(
                f"{word}: trust is measured on a run's own images; what may be typed is {'=, '.join(OPEN[:3])}= and "
                "trainer.…="
            )


def check_same_images(run: Reopened, assembly: Assembly) -> None:
    """Raise UserError where the data has changed since the run: its validation may then hold images it has learnt."""
    if run.checkpoint.get("data_fingerprint", assembly.settled.content) != assembly.settled.content:
        raise UserError(
            f"{run.path}: the images are not those of the run, so its validation may hold some that it was trained on; "
            "type data.root=<where they are>"
        )


def find_folder(checkpoint: Path) -> Path:
    """Return the run directory of a checkpoint; raise UserError where it lies in none."""
    folder = checkpoint.absolute().parent.parent
    if not (folder / "results.json").is_file() or checkpoint.parent.name != "checkpoints":
        raise UserError(
            f"{checkpoint}: lies in no directory of a finished run, with which trust.json is kept; type run=<it>"
        )
    return folder


def store(folder: Path, found: Json) -> None:
    """Write trust.json; raise UserError where it cannot be."""
    try:
        write_json(folder / "trust.json", found)
    except OSError as error:
        raise UserError(explain_os_error(error)) from None


def measure_probabilities(assembly: Assembly) -> Json:
    """Measure calibration, selective accuracy and conformal sets on the test, with a temperature from validation."""
    test = compute_answers(assembly, "test")
    val = compute_answers(assembly, "val") if assembly.data.sizes.get("val") else None
    if val is None:
        say("This run has no validation images (data.val_fraction=0): no temperature and no conformal sets.")
    temperature = fit_temperature(*val) if val else None
    plain = measure_calibration(*test)
    scaled = measure_calibration(*test, temperature) if temperature else None
    return {
        "temperature": temperature,
        "n_val": len(val.labels) if val else 0,
        "n_test": len(test.labels),
        "accuracy": float((test.logits.argmax(dim=1) == test.labels).double().mean()),
        "plain": describe_calibration(plain),
        "scaled": describe_calibration(scaled) if scaled else None,
        "selective": measure_selective(*test, temperature or 1.0),
        "conformal": measure_sets(val, test, temperature),
    }


def measure_sets(val: Answers | None, test: Answers, temperature: float | None) -> dict[str, float] | None:
    """Measure the conformal sets of the test; None without enough validation images."""
    return measure_conformal(*val, *test, temperature or 1.0) if val else None


def describe_calibration(found: Calibration) -> Json:
    """Return a calibration as JSON; a bin is its mean confidence, its accuracy and its number of images."""
    bins = [[each.confidence, each.accuracy, each.n] for each in found.bins]
    return {"nll": found.nll, "ece": found.ece, "bins": bins}
