"""Prepare a search over settings (`-m hpo=default`): read its words, check them, and have its base run looked at.

Optuna proposes the points, and each is a job as of any other sweep (trials.py). A trial's value is a validation metric
of the weights that the test would see; the test set itself is left alone (test=false).
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from ..cli.console import say
from ..config.fields import require
from ..config.run import TrainConfig
from ..config.search import HpoConfig
from ..errors import UserError
from .jobs import Job
from .processes import run_in_subprocess

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from .launcher import Jobs


def search(launcher: "Jobs", words: "Sequence[Override]") -> None:
    """Search as the launcher's configuration says, with these parsed words of the command line fixed."""
    try:
        import optuna
    except ImportError:
        raise UserError("hpo=… needs Optuna: python -m pip install 'optuna>=5'") from None
    from omegaconf import OmegaConf

    from .trials import Search

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = OmegaConf.to_object(launcher.config.hpo)
    assert isinstance(settings, HpoConfig)
    fixed = fix_typed_settings(settings, words)
    base = launcher.make_job([*fixed, "test=false"], 0)
    base.label = "what the trials have in common"
    if base.state == "waiting":
        check_search(settings, base.config)
        base = survey_base(launcher, base, settings.trials)
    if base.state == "failed":
        raise UserError(base.reason)
    if base.config.preflight != "only":
        Search(launcher, settings, fixed, base).run()


def fix_typed_settings(settings: HpoConfig, words: "Sequence[Override]") -> list[str]:
    """Return the words that every trial has, and drop from the search what they set; refuse a grid."""
    typed = {word.input_line: word for word in words if word.key_or_group.split(".")[0] != "hpo"}
    if grids := [line for line, word in typed.items() if word.is_sweep_override()]:
        raise UserError(f"{grids[0]}: a search tries no grid; type one value, or search it by hpo.space")
    for name in sorted({word.key_or_group for word in typed.values()} & set(settings.space)):
        say(f"{name} is typed, so it is not searched.")
        del settings.space[name]
    return [line for line in typed if line is not None]


def survey_base(launcher: "Jobs", base: Job, trials: int) -> Job:
    """Look at the job that the trials vary, and take its places; with preflight=only print what a trial costs."""
    from . import preflight

    survey = run_in_subprocess(preflight.survey, [base], launcher.slots)
    (base,), launcher.places, launcher.threads = survey.jobs, survey.places, survey.threads
    if survey.only and base.state != "failed":
        print(preflight.format_costs(survey))
        print(f"This is the cost of one of {trials} trials; a pruned trial runs fewer epochs.")
    elif survey.fatal:
        raise UserError(survey.fatal)
    return base


def check_search(settings: HpoConfig, config: TrainConfig) -> None:
    """Raise UserError where the settings to search do not exist, or these runs must not be searched."""
    require(bool(settings.space), "hpo.space: nothing is left to search; leave a searched setting untyped, or add one")
    for name, values in settings.space.items():
        try:
            value = attrgetter(name)(config)
        except AttributeError:
            raise UserError(f"hpo.space: {name}: no such setting with model={config.model.name}") from None
        number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        require(number or bool(values.choices), f"hpo.space: {name}={value} is no number: give choices=[…]")
    require(
        config.data.val_fraction > 0,
        "hpo=… chooses by the validation set, but data.val_fraction=0 keeps none; search with data.val_fraction=0.1",
    )
    require(not config.monitor_test, "hpo=… leaves the test set alone: leave out monitor_test=true")
    require(
        not config.fresh and config.resume is None,
        "hpo=… continues what its folder holds; start over with another hpo.name=…, without fresh= and resume=",
    )
