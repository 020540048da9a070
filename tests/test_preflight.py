"""What preflight finds before anything starts, and what it says a run will take."""

import re
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY, command, compose
from PIL import Image

from src.data.photos import look
from src.data.photos.manifest import digest_file
from src.sweep.costs import compare_with_study
from src.sweep.jobs import Job
from src.sweep.preflight import Survey, format_costs, format_problems, survey


def survey_points(root: Path, *words: str, points: tuple[str, ...] = ("seed=0",), slots: int | None = None) -> Survey:
    """The survey of a sweep over these points."""
    jobs = []
    for number, point in enumerate(points):
        base = [word for word in TINY if not point.startswith(word.partition("=")[0] + "=")]
        said = [*base, *words, *point.split(), f"output_root={root}"]
        jobs.append(Job(number=number, words=said, config=compose(*said), label=point))
    return survey(jobs, slots)


def test_what_is_right_stays_waiting_with_its_place(tmp_path: Path) -> None:
    found = survey_points(tmp_path, points=("seed=0", "seed=1"), slots=2)
    assert [job.state for job in found.jobs] == ["waiting"] * 2 and not format_problems(found)
    assert found.places == ["", ""] and found.threads >= 1
    assert found.jobs[0].path != found.jobs[1].path
    assert found.costs[0] is found.costs[1], "one network is looked at once"
    assert not list(tmp_path.iterdir())


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    points = (
        "data.batch_size=5000",
        "trainer.accumulate=3",
        "data=cifar10 data.download=false",
        "seed=0",
        "trainer.checkpoint_minutes=1",
    )
    found = survey_points(tmp_path, f"data.root={tmp_path}", points=points)
    told = format_problems(found)
    assert [job.state for job in found.jobs] == ["failed"] * 3 + ["waiting", "failed"]
    assert "4 of 5 jobs cannot run" in told
    for part in ("1077 training images", "does not divide", "cifar10", "the same run as job 3"):
        assert part in told, told


def test_photos_are_looked_at_once_for_all_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(16):
        file = tmp_path / "set" / ("train", "val")[number % 2] / ("cat", "dog")[number // 2 % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (16 * number, 0, 0)).save(file)
    digested: list[str] = []
    monkeypatch.setattr(look, "digest_file", lambda path: digested.append(path) or digest_file(path))
    words = (f"data.root={tmp_path / 'set'}", "data.image_size=32", "data.val_fraction=0", "data.workers=0")
    points = tuple(f"data=imagenet data.batch_size={size}" for size in (2, 4))
    found = survey_points(tmp_path / "out", *words, points=points)
    assert not format_problems(found) and found.costs[0] is not found.costs[1]
    assert len(digested) == len(set(digested)) == 16


def test_a_network_that_does_not_fit_is_named(tmp_path: Path) -> None:
    words = ("preflight_memory=0.5", "data.batch_size=1024", "data.image_size=32")
    found = survey_points(tmp_path, *words, points=("model.width=4", "model.width=64"))
    assert [job.state for job in found.jobs] == ["waiting", "failed"]
    assert "model.width=64" in format_problems(found) and "of memory, but only 500 MB is free" in format_problems(found)


def test_slots_share_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.machine.memory.measure_free_memory", lambda accelerator: 400_000_000)
    words = ("data.batch_size=512", "data.image_size=32")
    assert survey_points(tmp_path, *words, slots=1).jobs[0].state == "waiting"
    assert "but only 40 MB" in survey_points(tmp_path, *words, slots=10).jobs[0].reason


def test_a_disk_that_is_too_small_stops_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 20_000

    monkeypatch.setattr("shutil.disk_usage", lambda place: Usage)
    found = survey_points(tmp_path, points=("seed=0", "seed=1"))
    assert "checkpoints will take about" in format_problems(found) and found.fatal


def test_only_measures_a_step_of_each_network(tmp_path: Path, capsys: Any) -> None:
    points = ("model.width=4", "model.width=8", "seed=1")
    found = survey_points(tmp_path, "preflight=only", points=points)
    assert found.only and all(cost.step_seconds > 0 for cost in found.costs.values())
    told = format_costs(found)
    assert re.search(r"cifar_resnet +2 .* ms", told) and "about" in told.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_only_is_a_command(tmp_path: Path) -> None:
    done = command("src.train", *TINY, "preflight=only", f"output_root={tmp_path}", timeout=600)
    assert done.returncode == 0 and "time a run" in done.stdout, done.stderr
    words = ("-m", *TINY, "preflight=only", "seed=0,1", "preflight_memory=0.001", f"output_root={tmp_path}")
    small = command("src.train", *words, timeout=600)
    assert small.returncode == 1 and "2 of 2 jobs cannot run" in small.stderr and not list(tmp_path.iterdir())


def test_parameters_that_a_study_did_not_print_are_noted() -> None:
    table6 = compose("experiment=he2016_table6", "model=resnet56", "data=cifar10")
    assert compare_with_study(853_018, table6) == ""
    assert (
        compare_with_study(861_018, table6) == "resnet56 has 861,018 parameters; its study printed 0.85 (M parameters)."
    )
    deeper = compose("experiment=he2016_table6", "model=resnet110", "data=cifar10")
    assert compare_with_study(1_727_962, deeper) == "", "1.7 is printed beside 0.27"
    rounded = compose("experiment=arslan2025", "model=resnet18_cifar", "data=cifar10")
    assert compare_with_study(11_689_512, rounded) == ""
    assert "11,173,962 parameters; its study printed 11.7 (M parameters)" in compare_with_study(11_173_962, rounded)
    assert compare_with_study(1, compose("model=resnet56", "data=cifar10")) == "", "no study, nothing to differ from"
