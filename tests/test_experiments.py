"""Every experiment: its grid composes, its cells are those that the study printed, and its smallest job trains."""

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coco_set
import numpy as np
import pytest
import yaml
from helpers import command, compose
from omegaconf import OmegaConf
from PIL import Image

from src.cli.compose import CONF, check_grids, complete_overrides, list_brought_words, list_group_choices
from src.config.data import Official, Photos
from src.config.run import TrainConfig
from src.data.raw import Raw, Split
from src.data.sets.cifar import CIFAR10, CIFAR100
from src.data.sets.fashion_mnist import FASHION_MNIST
from src.data.sets.official import PublishedSet
from src.errors import UserError
from src.report.protocol import list_differences
from src.report.published import Published, fits, list_published, read_published
from src.report.result import Result
from src.runs.identity import to_plain
from src.training.run import train
from src.training.settle import settle_machine, settle_weights
from src.zoo.registry import row, rows

EXPERIMENTS = list_group_choices("experiment")
STUDIES = [name for name in EXPERIMENTS if name in list_published()]
DETECTORS = ("zoo_coco", "zoo_coco_masks")  # whose smallest job takes as long as all others
LIGHT = {  # networks that are too large for a test, and what stands in for them
    **dict.fromkeys(("resnet34", "resnet50", "resnet101"), ("imagenet_resnet", "model.depth=18")),
    "resnet18_cifar": ("cifar_resnet", "model.depth=8"),
    "wrn16_8": ("wide_resnet", "model.depth=10", "model.widen=1"),
    "preact_resnet110": ("preact_resnet", "model.depth=8"),
    "resnet110": ("cifar_resnet", "model.depth=8"),
    "resnet152v2_convhead": ("preact_resnet", "model.depth=8", "model.head=conv"),
    "vgg19": ("vgg", "model.depth=11", "model.head=linear"),
}


@functools.cache
def composed(experiment: str) -> TrainConfig:
    return compose(f"experiment={experiment}")


@functools.cache
def composed_last(experiment: str) -> TrainConfig:
    return compose(f"experiment={experiment}", *(f"{key}={values[-1]}" for key, values in grid(experiment).items()))


def grid(experiment: str) -> dict[str, list[str]]:
    """What the experiment sweeps over with -m, by key."""
    params = OmegaConf.select(OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml"), "hydra.sweeper.params")
    return {key: str(values).split(",") for key, values in (params or {}).items()}


def points(experiment: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Of each point, what would be in results.json and config.yaml; composed once and then filled in."""
    swept = grid(experiment)
    stored: dict[str, Any] = to_plain(composed(experiment))
    for values in itertools.product(*swept.values()):
        point = dict(zip(swept, values, strict=True))
        model = point.get("model", stored["model"]["name"])
        brought = dict(word.split("=", 1) for word in list_brought_words(experiment, [], point))
        config = {group: dict(leaves) if isinstance(leaves, dict) else leaves for group, leaves in stored.items()}
        for name, value in (point | brought).items():
            group, dot, leaf = name.partition(".")
            if dot:
                config[group][leaf] = yaml.safe_load(value)
        results = {
            "model": model if model in rows() else compose(f"model={model}").model.name,
            "data": point.get("data", stored["data"]["name"]),
            "task": stored["task"]["name"],
            "seed": int(point.get("seed", stored["seed"])),
        }
        yield results, config


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_is_a_claim_whose_grid_exists(experiment: str) -> None:
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    assert f" experiment={experiment}" in text and "python -m src.train" in text and "ours" in text.lower()
    assert composed(experiment).experiment_name == experiment
    for key, values in grid(experiment).items():
        assert len(values) == len(set(values))
        if key in ("model", "data"):
            assert set(values) <= set(list_group_choices(key))
    assert composed_last(experiment).experiment_name == experiment
    if experiment in STUDIES:
        assert len(grid(experiment)["seed"]) >= 3, "one seed decides nothing"


@pytest.mark.parametrize("experiment", STUDIES)
def test_each_cell_of_the_grid_is_one_printed_row(experiment: str) -> None:
    published = read_published(experiment)
    for results, config in points(experiment):
        found = [sum(fits(row.match, results, config) for row in rows) for rows in printed(published)]
        assert max(found) == 1, results


@pytest.mark.parametrize("experiment", STUDIES)
def test_each_printed_row_is_a_cell_of_the_grid(experiment: str) -> None:
    """Or of a sibling's, or of the family's dials."""
    siblings = [name for name in EXPERIMENTS if name.startswith(experiment)]
    cells = [point for name in siblings for point in points(name)]
    for printed_row in itertools.chain(*printed(read_published(experiment))):
        model = row(printed_row.match["model"])
        dialled = model.name == model.family
        assert dialled or any(fits(printed_row.match, *cell) for cell in cells), printed_row.label


@pytest.mark.parametrize("experiment", STUDIES)
def test_the_experiment_is_the_protocol_that_makes_it_comparable(experiment: str) -> None:
    """What it composes to differs in nothing from the protocol of its row, for the first and last cell of the grid."""
    for config in (composed(experiment), composed_last(experiment)):
        run = as_run(config)
        rows = [
            (row, table.protocol.add(row.settings))
            for table in read_published(experiment).tables
            for row in table.rows
            if row.match is not None and fits(row.match, run.content, run.config)
        ]
        assert rows
        for printed_row, protocol in rows:
            assert list_differences(protocol, printed_row.match, run) == []


def test_a_network_brings_its_own_recipe_into_a_grid() -> None:
    """Typed or not, alone or in a sweep's job; what is typed beats it, and a sweep's other networks are spared."""
    assert compose("experiment=kilari2025_imagenet", "model=vgg19").optim.lr == 0.01
    assert compose("experiment=kilari2025_imagenet", "model=vgg19", "optim.lr=0.2").optim.lr == 0.2
    assert compose("experiment=kilari2025_imagenet", "model=resnet50").optim.lr == 0.1
    assert composed("zoo_cifar").trainer.max_epochs == 200, "its first network, without -m"
    assert compose("experiment=waghmode2023", "model=small_cnn").model.weights is None
    assert composed("waghmode2023").model.weights == "KERAS_IMAGENET"
    assert complete_overrides(["-m", "experiment=zoo_cifar"]) == ["-m", "experiment=zoo_cifar"]
    assert compose("experiment=zoo_coco", "task.detector=retinanet").optim.lr == 0.01


def test_a_study_says_of_alexnet_that_it_has_no_dropout() -> None:
    """The grid's choice is a file of conf/model, not the registered row that its runs are named by."""
    for model, differing in (("alexnet_cifar_no_dropout", []), ("alexnet_cifar", ["model.dropout=0.5 (stated: 0)"])):
        run = as_run(compose("experiment=kittipipatthanapong2023", f"model={model}"))
        table = read_published("kittipipatthanapong2023").tables[0]
        row = next(row for row in table.rows if row.label == "AlexNet, CIFAR-10")
        assert fits(row.match, run.content, run.config)
        assert [str(each) for each in list_differences(table.protocol.add(row.settings), row.match, run)] == differing


def as_run(config: TrainConfig) -> Result:
    """A finished run of this configuration, as far as its protocol goes."""
    facts = {
        "model": config.model.name,
        "data": config.data.name,
        "task": config.task.name,
        "seed": config.seed,
        "epochs": config.trainer.max_epochs,
        "protocol": config.protocol,
    }
    config = settle_machine(config if config.model.weights else settle_weights(config))
    return Result(Path("run"), facts, to_plain(config), stale=False)


def printed(published: Published) -> list[list[Any]]:
    """The rows of each table that runs of ours have a counterpart of."""
    return [[row for row in table.rows if row.match is not None] for table in published.tables]


def test_the_data_set_of_an_experiment_brings_its_task() -> None:
    assert compose("experiment=rafi2024_coco").task.name == "multilabel"
    assert compose("experiment=rafi2024_coco", "data=cifar10").task.name == "multiclass"
    assert compose("experiment=rafi2024_cifar10", "data=coco").task.name == "multilabel"
    detection = compose("experiment=rafi2024_coco", "data=coco", "task=detection")
    assert (detection.task.name, detection.task.detector) == ("detection", "faster_rcnn")


def test_what_is_typed_narrows_the_grid(tmp_path: Path) -> None:
    """Through Hydra itself: a typed model, data set and seed beat the experiment's lists."""
    words = (
        "model=cifar_resnet",
        "model.depth=8",
        "data=digits",
        "seed=0",
        "trainer.max_epochs=1",
        "trainer.threads=1",
    )
    result = command("src.train", "-m", "experiment=he2016_preact", *words, f"output_root={tmp_path}")
    assert result.returncode == 0, result.stderr
    (run,) = tmp_path.rglob("results.json")
    assert run.relative_to(tmp_path).as_posix().startswith("digits/cifar_resnet/multiclass-seed0-")


def test_several_grids_at_once_are_refused() -> None:
    with pytest.raises(UserError, match="one by one"):
        check_grids(["-m", "experiment=cifar10_short,arslan2025"])
    check_grids(["-m", "experiment=cifar10_short,imagenet_short", "seed=0,1"])


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the tiny sets that are read from files lie."""
    root = tmp_path_factory.mktemp("sets")
    random = np.random.RandomState(0)
    for split, name, i in itertools.product(("train", "val"), ("n01440764", "n02102040"), range(8)):
        path = root / "imagenet" / split / name / f"{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.randint(256, size=(40, 40, 3), dtype=np.uint8)).save(path)
    return {"imagenet": root / "imagenet", "coco": coco_set.make(root / "coco")}


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty random images for each published set."""
    made = {}
    for facts in (CIFAR10.info, CIFAR100.info, FASHION_MNIST.info):
        random = np.random.RandomState(0)
        shape = (40, facts.image_size, facts.image_size, facts.channels)
        images = random.randint(256, size=shape, dtype=np.uint8)
        split = Split(images, np.arange(40, dtype=np.int64) % min(10, facts.num_classes))
        made[facts.name] = Raw(facts, split, split)
    monkeypatch.setattr(PublishedSet, "load", lambda self, root, download: made[self.info.name])


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize(
    "experiment", [pytest.param(name, marks=pytest.mark.slow) if name in DETECTORS else name for name in EXPERIMENTS]
)
def test_the_smallest_job_trains(tmp_path: Path, experiment: str, stand_ins: dict[str, Path]) -> None:
    smallest, *more = LIGHT.get(name := composed(experiment).model.name, (name,))
    words = [f"experiment={experiment}", f"model={smallest}", *more, "model.weights=null"]
    config = compose(
        *words,
        "optim.lr=1e-3",  # two images teach nothing, but a high rate may still end in NaN
        "data.batch_size=4",
        "data.eval_batch_size=4",
        "data.val_fraction=0.25",
        *(["data.workers=0"] if composed(experiment).data.name in stand_ins else []),
        "trainer=cpu",
        "trainer.threads=1",
        "trainer.max_epochs=1",
        *(f"trainer.limit_{split}_batches={2 if split == 'train' else 1}" for split in ("train", "val", "test")),
    )
    assert isinstance(config.data, Official | Photos)
    config.data.root = str(stand_ins.get(config.data.name, tmp_path))
    if isinstance(config.data, Photos):
        smaller(config.data, 64)
    results = train(config, tmp_path / "run")
    steps = 1 if experiment in DETECTORS else 2  # seven photos with boxes are left, and no part of a batch counts
    assert results["status"] == "finished" and results["steps"] == steps
    assert np.isfinite(results["metrics"]["train/loss"])


def smaller(data: Photos, side: int) -> None:
    """Photos of this side, also where an experiment grows them while it trains."""
    if data.train_sizes:
        data.train_sizes = [side // 2, side]
    else:
        data.image_size = side
    data.test_size = side


def test_a_run_is_found_again_by_its_tags() -> None:
    from src.training.loggers.build import build_loggers, list_tags, make_readable_name

    words = (
        "experiment=rafi2024_scalability",
        "data.limit_train=0.25",
        "seed=3",
        "logger=wandb",
        "logger.tags=[mine,cifar10]",
    )
    config = compose(*words)
    assert make_readable_name(config) == "resnet20-cifar10-train0.25-seed3"
    assert list_tags(config) == ["rafi2024_scalability", "resnet20", "cifar10", "multiclass"]
    (wandb,) = build_loggers(config.logger.values())
    assert wandb.tags == ["mine", "cifar10"]  # type: ignore[attr-defined]
