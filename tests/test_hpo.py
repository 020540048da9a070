"""A search over settings: what it chooses by, that a kill changes nothing, what it leaves; mostly with made runs."""

import contextlib
import copy
import math
import os
import random
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, TINY, assert_equal, command, compose, environment, results, table, train, weights

from src.cli.compose import CONF, list_group_choices
from src.config.search import HpoConfig, RangeConfig
from src.errors import UserError
from src.runs.identity import compute_config_hash
from src.runs.results import read_metrics, write_metrics
from src.sweep.board import OPEN
from src.sweep.jobs import Job
from src.sweep.search import check_search
from src.sweep.search_report import format_experiment, format_override
from src.sweep.trials import Search, lock_folder
from src.training.settle import find_run

pytest.importorskip("optuna")
EPOCHS = 8


class Killed(BaseException):
    """In place of kill -9: nothing of ours runs after it."""


class Process:
    def terminate(self) -> None: ...


class Launcher:
    """Makes up a run's course from its settings, two epochs a look; from some learning rate on, it diverges."""

    on_failure = "continue"

    def __init__(self, root: Path, slots: int = 1, looks: float = math.inf) -> None:
        self.dead = False
        self.base, self.places, self.looks, self.root = (
            compose(*TINY, f"trainer.max_epochs={EPOCHS}"),
            [""] * slots,
            looks,
            root,
        )
        self.base.output_root = str(root)
        self.started: list[str] = []

    def make_job(self, words: list[str], number: int) -> Job:
        config = copy.deepcopy(self.base)
        for group, _, rest in (w.partition(".") for w in words if w.startswith(("optim.", "task."))):
            name, _, value = rest.partition("=")
            setattr(getattr(config, group), name, float(value))
        return Job(number=number, words=words, config=config)

    def run_all(self, jobs: list[Job], add_jobs: Any, board: Any = None) -> None:
        while add_jobs() or any(job.state in OPEN for job in jobs):
            self.looks -= 1
            if self.looks < 0:
                self.dead = True
                raise Killed
            for job in jobs:
                self.go_on(job)

    def go_on(self, job: Job) -> None:
        if job.state == "waiting":
            job.state, job.process = "running", Process()  # type: ignore[assignment]
            job.path.mkdir(parents=True, exist_ok=True)
            self.started.append(job.label)
        elif job.state == "running" and job.stop_requested:
            job.end(*job.stopped_as)
        elif job.state == "running" and job.config.optim.lr > 0.8:
            job.end("failed", "The loss is no longer a finite number.")
        elif job.state == "running":
            file = job.path / "metrics.csv"
            rows = read_metrics(file)
            done = len(rows)
            good = 1 - 0.1 * abs(math.log10(job.config.optim.lr / 0.1)) - job.config.task.label_smoothing / 10
            for epoch in range(done + 1, min(done + 2, EPOCHS) + 1):
                row = {"epoch": epoch, "val/accuracy": good - 0.2 / epoch, "val/loss": 1 - good + 0.2 / epoch}
                rows.append(row)
            write_metrics(file, rows)
            if done + 2 >= EPOCHS:
                job.results = {"status": "untested", "metrics": row}
                job.end("done")


class Mortal(Search):
    """Does nothing more once its process is dead."""

    launcher: Any

    def observe(self) -> bool:
        return not self.launcher.dead and super().observe()

    def report(self) -> str:
        return "" if self.launcher.dead else super().report()


def make_settings(**changed: Any) -> HpoConfig:
    space = {"optim.lr": RangeConfig(0.01, 1.0, log=True), "task.label_smoothing": RangeConfig(choices=[0.0, 0.1, 0.2])}
    return HpoConfig(**{"space": space, "trials": 12} | changed)


def make_search(launcher: Launcher, **changed: Any) -> Search:
    base = launcher.make_job([], 0)
    _, base.run = find_run(base.config, None, [])
    fixed = [*TINY, f"trainer.max_epochs={EPOCHS}"]
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path

    launcher.loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))  # type: ignore[attr-defined]
    return Mortal(launcher, make_settings(**changed), fixed, base)  # type: ignore[arg-type]


def read_trials(search: Search) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "run"} for row in table(search.folder / "trials.csv")]


def test_a_search_that_is_killed_again_and_again_ends_as_if_it_never_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.sweep.search_plots.draw_plots", lambda *_: [])
    whole = make_search(Launcher(tmp_path / "whole"))
    whole.run()
    said = capsys.readouterr().out
    unbroken = read_trials(whole)
    states = [row["state"] for row in unbroken]
    assert len(states) == 12 and {"complete", "pruned", "failed"} == set(states), states
    assert unbroken[0]["optim.lr"] == "0.2" and unbroken[0]["task.label_smoothing"] == "0.0", "the recipe is first"
    assert len({row["optim.lr"] for row in unbroken}) == 12
    assert "12 trials: " in said and "no longer a finite number" in said
    killed, chance = 0, random.Random(0)
    while True:
        search = make_search(Launcher(tmp_path / "killed", looks=chance.randrange(6, 20)))
        try:
            search.run()
            break
        except Killed:
            killed += 1
    assert killed > 2 and read_trials(search) == unbroken
    again = Launcher(tmp_path / "killed")
    make_search(again).run()
    assert not again.started and read_trials(search) == unbroken, "it has its 12 trials"


def test_several_at_once_are_as_many_as_asked_for(tmp_path: Path) -> None:
    search = make_search(Launcher(tmp_path, slots=3), trials=7, prune=False)
    search.run()
    before = read_trials(search)
    states = [row["state"] for row in before]
    assert len(states) == 7 and "pruned" not in states
    more = make_search(Launcher(tmp_path), trials=9, prune=False)
    more.run()
    assert len(read_trials(more)) == 9 and read_trials(more)[:7] == before, "a longer search continues the shorter one"
    for name in ("history.png", "slices.png"):
        assert (search.folder / name).stat().st_size > 10_000


def test_a_failure_ends_the_search_where_that_is_asked_for(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path)
    launcher.on_failure = "stop"
    search = make_search(launcher)
    with pytest.raises(UserError, match="Stopped after a failure"):
        search.run()
    states = [row["state"] for row in read_trials(search)]
    assert states[-1] == "failed" and states.count("failed") == 1 and len(states) < 12


def test_a_metric_that_no_trial_has_ends_the_search_with_its_first_epoch(tmp_path: Path) -> None:
    search = make_search(Launcher(tmp_path), metric="val/acc")
    with pytest.raises(UserError, match="hpo.metric=val/acc: no such number; there are: val/accuracy, val/loss"):
        search.run()
    assert len(search.jobs) == 1 and not (search.jobs[0].path / "results.json").exists()


def test_a_trial_without_a_finite_number_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = Launcher.go_on

    def lost(launcher: Launcher, job: Job) -> None:
        go_on(launcher, job)
        if job.state == "done" and len(launcher.started) == 1:
            job.results["metrics"] = {"val/accuracy": None}  # as JSON has nan

    monkeypatch.setattr(Launcher, "go_on", lost)
    search = make_search(Launcher(tmp_path), trials=4)
    search.run()
    first, *others = read_trials(search)
    assert (first["state"], first["reason"]) == ("failed", "val/accuracy is not finite")
    assert "complete" in {row["state"] for row in others}


def test_a_whole_number_is_searched_as_one(tmp_path: Path) -> None:
    search = make_search(Launcher(tmp_path), space={"data.batch_size": RangeConfig(32, 256, log=True)})
    search.folder.mkdir(parents=True)
    search.study = study = search.open_study()
    values = [search.propose(study.ask())["data.batch_size"] for _ in range(5)]
    assert all(type(value) is int and 32 <= value <= 256 for value in values) and len(set(values)) > 2


def test_a_search_says_when_its_trials_are_of_other_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_search(Launcher(tmp_path), trials=2).run()
    assert "has changed" not in capsys.readouterr().err
    later = make_search(Launcher(tmp_path), trials=2)
    assert later.base.run is not None
    later.base.run.code_hash = "other"
    later.run()
    assert "The code has changed since 2 of them" in capsys.readouterr().err


def test_the_least_loss_is_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = make_search(
        Launcher(tmp_path), metric="val/loss", trials=6, space={"optim.lr": make_settings().space["optim.lr"]}
    )
    search.run()
    values = [float(row["val/loss"]) for row in read_trials(search) if row["state"] == "complete"]
    assert search.study.best_value == min(values) < max(values)
    assert f"val loss {min(values):.4f}" in capsys.readouterr().out


def test_the_best_point_is_an_experiment(tmp_path: Path) -> None:
    search = make_search(Launcher(tmp_path))
    fixed = ["data=digits", "model=cifar_resnet", "model.depth=8", "optim=adamw", "experiment=cifar10_short"]
    point = {"optim.lr": 0.001234, "optim.momentum": 0.85, "task.label_smoothing": 0.1, "optim.warmup": None}
    text = format_experiment([*fixed, "output_root=/elsewhere"], point, search.launcher, ["How it came about."])
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "best.yaml").write_text(text)
    typed = [*fixed, *(format_override(name, value) for name, value in point.items())]
    found = compose("experiment=best", f"hydra.searchpath=[file://{tmp_path}]")
    assert compute_config_hash(found, "") == compute_config_hash(compose(*typed), "")
    assert found.output_root == "outputs" and "# How it came about." in text


def test_words_mean_what_was_proposed() -> None:
    for value in ("pad_crop", "it's", "null", "1"):
        assert compose(format_override("experiment_name", value)).experiment_name == value
    config = compose(
        format_override("optim.nesterov", True),
        format_override("optim.warmup", None),
        format_override("optim.lr", 1e-5),
    )
    assert (config.optim.nesterov, config.optim.warmup, config.optim.lr) == (True, None, 1e-5)


WRONG_SEARCH = {
    "optim.\\*": {"space": {"seed": RangeConfig(choices=[0, 1])}},
    "data.split_seed is not": {"space": {"data.split_seed": RangeConfig(choices=[0, 1])}},
    "the test set never chooses": {"metric": "test/accuracy"},
    "losses of trials that differ in task": {"metric": "val/loss"},
    "at least 1": {"trials": 0},
    "data.augment=pad_crop is no number: give choices": {"space": {"data.augment": RangeConfig(0.1, 1)}},
    "letters, digits": {"name": "../elsewhere"},
    "no such setting with model=cifar_resnet": {"space": {"optim.rate": RangeConfig(0.1, 1)}},
    "nothing is left": {"space": {}},
}


@pytest.mark.parametrize("sentence", WRONG_SEARCH)
def test_a_wrong_search_gets_a_sentence(sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_search(make_settings(**WRONG_SEARCH[sentence]), compose(*TINY))


def test_a_wrong_range_gets_a_sentence() -> None:
    for wrong in ({"low": 1.0, "high": 0.5}, {"low": 0.0, "high": 1.0, "log": True}, {"choices": [1]}, {"low": 0.1}):
        with pytest.raises(UserError, match="low is to be below high"):
            RangeConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="a number, a word"):
        RangeConfig(choices=[[0.5], [0.7]])


def test_runs_that_a_search_cannot_judge_are_refused() -> None:
    for words, sentence in {
        "data.val_fraction=0": "validation set",
        "monitor_test=true": "leaves the test set alone",
        "fresh=true": "hpo.name=",
    }.items():
        with pytest.raises(UserError, match=sentence):
            check_search(make_settings(), compose(*TINY, words))


def test_a_folder_has_one_search_and_one_process(tmp_path: Path) -> None:
    search = make_search(Launcher(tmp_path), name="mine", trials=1)
    with lock_folder(search.folder), pytest.raises(UserError, match="another process"):
        search.run()
    search.run()
    with pytest.raises(UserError, match="holds another search"):
        make_search(Launcher(tmp_path), name="mine", trials=1, seed=1).run()


def test_a_database_that_cannot_be_used_gets_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.sweep.trials.WAITING", 0.1)
    monkeypatch.setattr("src.sweep.search_plots.draw_plots", lambda *_: [])
    root = tmp_path / "o?mode=memory %41"  # as part of a URL, this would be no folder
    search = make_search(Launcher(root), name="mine", trials=1)
    search.run()
    database = search.folder / "study.db"
    whole = database.read_bytes()
    assert whole.startswith(b"SQLite format 3")
    with contextlib.closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"study\.db: .*database is locked.*end that"):
            make_search(Launcher(root), name="mine", trials=2).run()
    for content in (b"no database" * 99, whole[: len(whole) // 2], whole[:5000] + b"x" * (len(whole) - 5000)):
        database.write_bytes(content)
        with pytest.raises(UserError, match=r"study\.db: the search's database cannot be used \(.*move it away"):
            make_search(Launcher(root), name="mine", trials=2).run()
    database.unlink()
    database.mkdir()
    with pytest.raises(UserError, match="unable to open database file.*writable"):
        make_search(Launcher(root), name="mine", trials=2).run()
    long = Launcher(root)
    long.base.model.name = "../out"
    with pytest.raises(UserError, match="names a folder"):
        make_search(long, trials=1)


def test_every_shipped_search_composes() -> None:
    for name in list_group_choices("hpo"):
        data = ("data=coco", "task=detection") if name == "detection" else ()
        config = compose(f"hpo={name}", *data)
        assert config.hpo is not None
        check_search(config.hpo, config)


def test_a_run_without_its_test_is_tested_later(tmp_path: Path) -> None:
    first = train(tmp_path, "test=false")
    assert first.returncode == 0, first.stderr
    before = results(tmp_path)
    trained = weights(tmp_path)
    assert before["status"] == "untested" and not any(key.startswith("test/") for key in before["metrics"])
    assert not (tmp_path / "test_predictions.npz").exists()
    assert "Finished before" in train(tmp_path, "test=false").stderr
    again = train(tmp_path)
    assert again.returncode == 0 and "Resuming" in again.stderr, again.stderr
    after = results(tmp_path)
    assert after["status"] == "finished" and after["n_test"] == 360 and "test/accuracy" in after["metrics"]
    assert after["metrics"]["val/accuracy"] == before["metrics"]["val/accuracy"]
    assert_equal(weights(tmp_path), trained)


@pytest.mark.slow
def test_a_real_search_is_killed_and_continued(tmp_path: Path) -> None:
    words = ("-m", "hpo=default", *TINY, "hpo.trials=3", "trainer.max_epochs=4", f"output_root={tmp_path}")
    program = [sys.executable, "-m", "src.train", *words]
    first = subprocess.Popen(program, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 600
    while len(list(tmp_path.glob("digits/*/*/results.json"))) < 1:
        assert time.monotonic() < limit and first.poll() is None
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = command("src.train", *words, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "3 trials: 3 complete" in done.stdout
    (folder,) = (tmp_path / "hpo").iterdir()
    runs = [Path(row["run"]) for row in table(folder / "trials.csv")]
    assert len(runs) == len(set(runs)) == 3
    assert {results(run)["status"] for run in runs} == {"untested"}
    best = next(line for line in done.stdout.splitlines() if line.startswith("Its test")).partition("src.train ")[2]
    tested = command("src.train", *shlex.split(best))
    assert tested.returncode == 0 and "Resuming" in tested.stderr
    assert {results(run)["status"] for run in runs} == {"untested", "finished"}
