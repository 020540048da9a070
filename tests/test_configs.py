"""Every shipped preset against the real entry point: it composes, checks itself and has an identity."""

import itertools

import pytest
from helpers import compose

from src.cli.compose import list_group_choices
from src.errors import UserError
from src.runs.identity import compute_config_hash
from src.zoo.registry import row, rows

RECIPES = list_group_choices("recipe")


def test_every_model_composes_with_a_recipe_and_every_family_with_every_recipe() -> None:
    families = [name for name in rows() if row(name).family == name]
    pairs = {(model, RECIPES[i % len(RECIPES)]) for i, model in enumerate(rows())}
    pairs |= set(itertools.product(families, RECIPES))
    hashes = set()
    for model, recipe in pairs:
        data = next(name for name in list_group_choices("data") if recipe.startswith(f"{name}_"))
        task = recipe.removeprefix(f"{data}_")
        config = compose(f"model={model}", f"data={data}", f"task={task}")
        assert (config.model.name, config.data.name, config.task.name) == (model, data, task)
        hashes.add(compute_config_hash(config, "x"))
    assert len(hashes) == len(pairs)


@pytest.mark.parametrize("group", ["optim", "finetune", "trainer", "logger", "experiment", "data", "task"])
def test_every_choice_of_a_group_composes(group: str) -> None:
    for name in list_group_choices(group):
        data = ("data=coco",) if group == "task" and name != "multiclass" else ()
        assert compose(f"{group}={name}", "model.weights=somewhere", *data)


def test_cifar_alone_gives_the_papers_recipe() -> None:
    for model in ("resnet56", "plain20"):
        config = compose(f"model={model}", "data=cifar10")
        assert (config.optim.name, config.optim.lr, config.optim.momentum) == ("sgd", 0.1, 0.9)
        assert (config.optim.weight_decay, config.optim.milestones) == (1e-4, [0.5, 0.75])
        assert (config.data.batch_size, config.data.augment, config.trainer.max_epochs) == (128, "pad_crop_flip", 182)
        assert config.model.warmup == 0
    assert compose("model=resnet110", "data=cifar10").model.warmup == 400 / 64_000


def test_the_command_line_beats_the_experiment_which_beats_the_recipe() -> None:
    assert compose("experiment=cifar10_short").trainer.max_epochs == 36
    assert compose("experiment=cifar10_short", "trainer.max_epochs=3").trainer.max_epochs == 3
    assert compose("experiment=cifar10_short", "optim=adam").optim.name == "adam"
    assert compose("experiment=cifar10_short", "data=cifar100").data.name == "cifar100"


def test_the_example_of_a_users_own_network() -> None:
    config = compose("model=example")
    assert (config.model.name, config.model.family) == ("example", "cifar_resnet")


def test_impossible_combinations_are_refused() -> None:
    with pytest.raises(UserError, match="protocol=last"):
        compose("data.val_fraction=0", "protocol=best_val")
    with pytest.raises(UserError, match="choose one of them"):
        compose("trainer.compile=true", "model.checkpoint_activations=true")
    with pytest.raises(UserError, match="plateau"):
        compose("data.val_fraction=0", "optim=adam_plateau")


@pytest.mark.parametrize("name", list_group_choices("data"))
def test_the_normalisation_is_auto_until_the_command_line_names_one(name: str) -> None:
    assert compose(f"data={name}").data.normalize == "auto"
    assert compose(f"data={name}", "data.normalize=half").data.normalize == "half"
