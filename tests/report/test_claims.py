"""Claims are judged on every pair that they are about, never on two ends: an order, a trend, or several of them."""

import itertools
from pathlib import Path

import pytest
from made_runs import make_config, make_results, write_run

from src.cli.compose import CONF, list_group_choices, load_experiment
from src.report.claims import ClaimVerdict, combine_steps, judge_claims
from src.report.groups import collect_runs
from src.report.protocol import IMAGES, Protocol
from src.report.published import Claim, Column, Part, Published, Row, Table, list_published, read_published
from src.report.views import build_study_view

SPREAD = (-0.1, 0.0, 0.1)
PROTOCOL = Protocol("he2016_table6")


def judge(
    path: Path, claim: Claim, errors: dict[str, float], metric: str = "test/accuracy", n: int = 3
) -> ClaimVerdict:
    """A claim on runs with these errors in percent by network, a seed each."""
    for model, error in errors.items():
        for seed, more in enumerate(SPREAD[:n]):
            accuracy = {metric: 1 - (error + more) / 100}
            write_run(path / f"{model}{seed}", make_results(error + more, seed, model=model, metrics=accuracy))
    column = Column("test/accuracy", "accuracy %", scale=100)
    rows = [Row(model, {"model": model, "data": "cifar10"}) for model in errors]
    table = Table("Table", {column.metric: column}, rows, PROTOCOL)
    study = Published("he2016_table6", "a title", "a source", [table], PROTOCOL, [claim])
    (found,) = judge_claims(study, collect_runs([str(path)]).groups if errors else [])
    return found


BEST = Claim("ResNet-110 is the most accurate", [Part(["test/accuracy"], highest={"model": "resnet110"})])
DEEPER = [{"model": "resnet20"}, {"model": "resnet56"}, {"model": "resnet110"}]


def test_the_best_is_above_every_other_and_not_above_one(tmp_path: Path) -> None:
    """ResNet-56 at 95 %, 110 at 94, 1202 at 92: once "holds", for only 110 and 1202 were compared."""
    found = judge(tmp_path / "a", BEST, {"resnet56": 5.0, "resnet110": 6.0, "resnet1202": 8.0})
    assert str(found.verdict) == "fails: 1 of 2 comparisons the other way round"
    assert "resnet110 94.00 ± 0.10 (n = 3) against resnet56 95.00 ± 0.10" in str(found.steps[0])
    found = judge(tmp_path / "b", BEST, {"resnet56": 7.0, "resnet110": 6.0, "resnet1202": 8.0})
    assert str(found.verdict) == "holds: 2 comparisons"


def test_an_order_is_of_all_pairs(tmp_path: Path) -> None:
    rising = Claim("the deeper, the better", [Part(["test/accuracy"], rising=DEEPER)])
    assert judge(tmp_path / "a", rising, {"resnet20": 9.0, "resnet56": 8.0, "resnet110": 7.0}).verdict.word == "holds"
    ends = judge(tmp_path / "b", rising, {"resnet20": 9.0, "resnet56": 9.5, "resnet110": 7.0})
    assert ends.verdict.word == "fails" and len(ends.steps) == 3, "the ends alone are as claimed"
    near = judge(tmp_path / "c", rising, {"resnet20": 9.0, "resnet56": 7.02, "resnet110": 7.0})
    assert str(near.verdict) == "undecided: 1 of 3 comparisons open"
    some = judge(tmp_path / "d", rising, {"resnet20": 9.0, "resnet56": 8.0})
    assert str(some.verdict) == "undecided: runs for 1 of 3 comparisons"
    assert judge(tmp_path / "e", rising, {}).verdict.word == "no run yet"


def test_a_conjunction_needs_each_part_by_each_metric(tmp_path: Path) -> None:
    both = Claim(
        "deeper is better and more precise",
        [Part(["test/accuracy", "test/f1"], higher=[{"model": "resnet56"}], lower=[{"model": "resnet20"}])],
    )
    errors = {"resnet20": 9.0, "resnet56": 8.0}
    assert str(judge(tmp_path / "a", both, errors).verdict) == "undecided: runs for 1 of 2 comparisons"
    assert str(judge(tmp_path / "b", both, errors, "test/f1").verdict) == "holds: 2 comparisons"


def test_a_trend_rises_on_the_whole_and_falls_nowhere(tmp_path: Path) -> None:
    trend = Claim("more is better", [Part(["test/accuracy"], trend=DEEPER)])
    near = judge(tmp_path / "a", trend, {"resnet20": 9.0, "resnet56": 7.02, "resnet110": 7.0})
    assert near.verdict.word == "holds", "a pair of it may be open"
    falls = judge(tmp_path / "b", trend, {"resnet20": 9.0, "resnet56": 5.0, "resnet110": 7.0})
    assert falls.verdict.word == "fails", "its ends are as claimed"
    flat = judge(tmp_path / "c", trend, {"resnet20": 7.0, "resnet56": 7.0, "resnet110": 7.0})
    assert flat.verdict.word == "undecided"
    assert judge(tmp_path / "d", trend, {"resnet20": 9.0, "resnet56": 8.0, "resnet110": 7.0}, n=1).verdict.word == (
        "undecided"
    )


def test_a_refutation_is_shared_among_the_comparisons(tmp_path: Path) -> None:
    """One of many pairs is the other way round by chance: at 5 % a pair, fifteen would refute every second claim."""
    pair = Claim("a pair", [Part(["test/accuracy"], higher=[{"model": "resnet110"}], lower=[{"model": "resnet56"}])])
    found = judge(tmp_path, pair, {"resnet56": 7.0, "resnet110": 7.25})
    (step,) = found.steps
    assert found.verdict.word == step.verdict.word == "reversed"
    assert combine_steps([step], 15).word == "undecided"


def test_a_printed_number_is_one_run(tmp_path: Path) -> None:
    """Our mean against the number of a row, by the prediction of one more run; each row that prints one."""

    def judge_against(folder: str, *errors: float, above: bool = False) -> ClaimVerdict:
        for seed, error in enumerate(errors):
            write_run(tmp_path / folder / str(seed), make_results(error, seed))
        columns = {
            "test/error": Column("test/error", "error %", scale=100, better="lower"),
            "published/baseline": Column("published/baseline", "baseline"),
        }
        row = Row("ResNet-20", {"model": "resnet20"}, values={"published/baseline": 9.0})
        quoted = Row("another", values={"published/baseline": 1.0})
        part = Part(["test/error"], **{"above" if above else "below": "published/baseline"})
        table = Table("Table", columns, [row, quoted], PROTOCOL)
        study = Published("he2016_table6", "a title", "a source", [table], PROTOCOL, [Claim("a claim", [part])])
        (found,) = judge_claims(study, collect_runs([str(tmp_path / folder)]).groups)
        return found

    below = judge_against("below", 8.0, 8.1, 7.9)
    assert below.verdict.word == "holds"
    assert "error %: baseline 9.00, printed against resnet20 8.00 ± 0.10 (n = 3)" in str(below)
    assert judge_against("near", 9.3, 9.4, 9.2).verdict.word == "undecided", "one run may lie so"
    assert judge_against("far", 12.0, 12.1, 11.9).verdict.word == "reversed"
    assert judge_against("up", 12.0, 12.1, 11.9, above=True).verdict.word == "holds"
    assert judge_against("single", 8.0).verdict.word == "undecided", "one run shows no spread"


def test_a_mean_over_data_sets_needs_each_of_them_and_goes_by_seeds(tmp_path: Path) -> None:
    across = [{"data": "cifar10"}, {"data": "cifar100"}]
    part = Part(["test/accuracy"], across=across, higher=[{"model": "resnet56"}], lower=[{"model": "resnet20"}])
    table = Table("Table", {"test/accuracy": Column("test/accuracy", "accuracy %", scale=100)}, [], PROTOCOL)
    study = Published("he2016_table6", "a title", "a source", [table], PROTOCOL, [Claim("best", [part])])
    assert [cell["data"] for cell in study.claims[0].cells] == ["cifar10", "cifar100"] * 2
    for model, errors in {"resnet20": {"cifar10": 8.0, "cifar100": 30.0}, "resnet56": {"cifar10": 8.5}}.items():
        for data, error in errors.items():
            for seed in range(3):
                path = tmp_path / f"{model}{data}{seed}"
                write_run(path, make_results(error + seed / 10, seed, model=model, data=data))
    (found,) = judge_claims(study, collect_runs([str(tmp_path)]).groups)
    assert found.verdict.word == "no run yet", "ResNet-56 has no run on CIFAR-100"
    for seed in range(2):
        write_run(tmp_path / str(seed), make_results(25 + seed / 10, seed, model="resnet56", data="cifar100"))
    (found,) = judge_claims(study, collect_runs([str(tmp_path)]).groups)
    assert found.verdict.word == "holds", "3 points ahead in the mean, though behind on CIFAR-10"
    (step,) = found.steps
    assert [len(side.values) for side in step.sides] == [2, 3], "seeds that both sets have"
    assert "resnet56, mean of 2, 83.20 ± 0.07 (n = 2) against resnet20, mean of 2, 80.90" in str(found)


def test_epochs_to_a_level_and_gaps_are_numbers_of_a_run(tmp_path: Path) -> None:
    content = make_results(8.0, epochs=4, metrics={"val/accuracy": 0.91, "train/accuracy": 0.97})
    path = write_run(tmp_path / "a", content)
    curves = "epoch,val/accuracy,train/accuracy\n1,0.5,0.4\n2,0.8,0.85\n3,0.9,0.9\n4,0.91,0.97\n"
    (path / "metrics.csv").write_text(curves)
    (group,) = collect_runs([str(path)]).groups
    (run,) = group.runs
    assert [run.value(f"epochs_to/train/{level}") for level in (30, 80, 97, 99)] == [1, 2, 4, 5], "never: one more"
    assert run.value("epochs_to/val/90") == 3 and run.value("epochs_to_convergence") == 4
    assert run.value("gap/error") == pytest.approx(0.06) and run.value("depth") == 20
    (path / "metrics.csv").unlink()
    assert collect_runs([str(path)]).groups[0].runs[0].value("epochs_to/val/90") is None


def test_what_the_study_itself_contradicts_is_said(tmp_path: Path) -> None:
    claims = read_published("rafi2024_cifar10").claims
    groups = collect_runs([str(write_run(tmp_path / "a", make_results()))]).groups
    found = judge_claims(read_published("rafi2024_cifar10"), groups)
    said = [claim for claim in found if any("contradict" in flag for flag in claim.flags)]
    assert len(said) == 2 and "all six printed errors are above it" in str(said[1])
    assert str(said[1].verdict) == "undecided: runs for 1 of 6 comparisons" and len(claims) == 5


def test_every_claim_of_depth_or_data_is_of_all_cells() -> None:
    """No claim about depth or the amount of data compares two ends."""
    for study, texts in (
        ("rafi2024_cifar10", "deeper"),
        ("rafi2024_scalability", "more data"),
        ("arslan2025", "Deeper"),
    ):
        for claim in read_published(study).claims:
            if texts in claim.text:
                assert len(list(claim.cells)) >= 4, claim.text


def test_top_5_is_printed_in_percent(tmp_path: Path) -> None:
    """.9142 and .9088 once read 0.91 ± 0.00 against 0.91 ± 0.00."""
    for model, top5 in (("resnet34", 0.9142), ("vgg19", 0.9088)):
        for seed in range(2):
            content = make_results(30, seed, model=model, data="imagenet", epochs=90, n_train=1268355, n_val=12812)
            content["metrics"]["test/top5"] = top5 + seed / 1000
            write_run(tmp_path / f"{model}{seed}", content)
    found = judge_claims(read_published("kilari2025_imagenet"), collect_runs([str(tmp_path)]).groups)
    assert "test top5 error %: vgg19 9.07 ± 0.07 (n = 2) against resnet34 8.53 ± 0.07 (n = 2)" in str(found[0])


def test_times_and_shares_are_printed_as_in_the_tables(tmp_path: Path) -> None:
    for model in ("resnet20", "resnet110"):
        for seed in range(2):
            write_run(tmp_path / f"{model}{seed}", make_results(9, seed, model=model, epochs=50))
    found = judge_claims(read_published("rafi2024_cifar10"), collect_runs([str(tmp_path)]).groups)
    assert "accuracy: resnet110 0.9100 ± 0.0000 (n = 2) against resnet20 0.9100" in str(found[0])
    assert "hours: resnet110 16.00" in str(next(each for each in found if "the longer" in each.claim.text))


@pytest.mark.slow
@pytest.mark.parametrize("study", sorted({*list_published()} & {*list_group_choices("experiment")}))
def test_the_grid_of_a_study_can_judge_all_of_its_claims(tmp_path: Path, study: str) -> None:
    """No claim lacks a cell that the study's experiment, or a sibling of it, trains; and no run lacks its row."""
    siblings = [path.stem for path in (CONF / "experiment").glob(f"{study}*.yaml")]
    published = read_published(study)
    images = {table.protocol.images for table in published.tables} - {None}
    for experiment in (name for name in siblings if name == study or name not in list_published()):
        swept = load_experiment(experiment, []).hydra.sweeper.params
        keys = [key for key in swept if key != "seed"]
        for values in itertools.product(*(str(swept[key]).split(",") for key in keys)):
            words = [f"{key}={value}" for key, value in zip(keys, values, strict=True)]
            config = make_config(f"experiment={experiment}", *words)
            known = {"model": config["model"]["name"], "data": config["data"]["name"], "task": config["task"]["name"]}
            known["n_train"], known["n_val"] = next(iter(images), IMAGES[known["data"]]), 0
            for seed in range(2):
                metrics = {f"test/{name}": 0.8 for name in ("top5", "precision", "recall", "f1", "map", "mask_map")}
                epochs = config["trainer"]["max_epochs"]
                results = make_results(9, seed, **known, epochs=epochs, metrics=metrics)
                path = write_run(tmp_path / f"{experiment}{'-'.join(values)}-{seed}", results, config | {"seed": seed})
                rows = [f"{epoch},0.9,0.9\n" for epoch in range(1, epochs + 1)]
                (path / "metrics.csv").write_text("".join(["epoch,val/accuracy,train/accuracy\n", *rows]))
    groups = collect_runs([str(tmp_path)]).groups
    for found in judge_claims(published, groups):
        missing = "runs for" in found.verdict.reason or found.verdict.word == "no run yet"
        assert not missing and not any(flag.startswith(("not as", "the sides")) for flag in found.flags), str(found)
    for table in published.tables:
        lines = build_study_view(table, groups).lines
        assert not [line.keys[0] for line in lines if line.reasons]
        assert not [line.keys[0] for line in lines if line.group is None and has_match(table, line.keys[0])]


def has_match(table: Table, label: str) -> bool:
    return any(row.match is not None for row in table.rows if row.label == label)
