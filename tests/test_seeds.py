"""Seeds that are added until the verdicts are settled: who goes on, why it ends; one sweep with real trainings."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import ROOT, TINY, environment, results
from made_runs import make_config, make_results, write_run

from src.errors import UserError
from src.sweep.grid import LOOKS, read_auto
from src.sweep.seeds import run_until_settled


class Made:
    """A launcher whose jobs are made runs: `errors` gives the test error [%] of a model and seed, None a divergence."""

    on_failure = "continue"

    def __init__(self, path: Path, errors: Callable[[str, int], float | None], study: str = "") -> None:
        self.path, self.errors, self.study = path, errors, study
        self.configs: dict[str, dict[str, Any]] = {}
        self.batches: list[list[tuple[str, int]]] = []
        self.jobs: list[Any] = []

    def launch(self, words: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        assert initial_job_idx == sum(map(len, self.batches))
        self.batches.append([])
        self.jobs = []
        for point in words:
            options = dict(word.split("=", 1) for word in point)
            model, seed = options["model"], int(options["seed"])
            self.batches[-1].append((model, seed))
            path, error = self.path / f"{model}-{seed}", self.errors(model, seed)
            content = make_results(error or 50.0, seed, model=model)
            if model not in self.configs:
                words = (f"experiment={self.study}", f"model={model}")
                self.configs[model] = make_config(*words) if self.study else {"trainer": {"max_epochs": 182}}
            looks = [int(n) for n in options["looks"][1:-1].split(",")]
            config = self.configs[model] | {"looks": looks, "least_gain": self.gain}
            if error is None:
                content |= {"status": "failed", "reason": "The loss is no longer a finite number (epoch 3)."}
            if not path.exists():
                write_run(path, content, config)
            run = SimpleNamespace(path=path)
            settings = SimpleNamespace(experiment_name=self.study, preflight="check")
            state = "failed" if error is None else "done"
            self.jobs.append(SimpleNamespace(path=path, run=run, state=state, config=settings))
        return self.jobs

    def settle(self, *models: str, looks: Sequence[int] = LOOKS, gain: float = 0.1) -> list[int]:
        """Return the number of seeds of each model."""
        self.gain = gain
        run_until_settled(self, [[f"model={model}"] for model in models], looks, 0.35)  # type: ignore[arg-type]
        return [sum(name == model for batch in self.batches for name, _ in batch) for model in models]


def spread(seed: int) -> float:
    return (0.0, 0.1, -0.1, 0.05, -0.05, 0.02, -0.02)[seed % 7]


def test_clear_pairs_settle_and_close_ones_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    level = {"resnet20": 9.0, "resnet32": 8.85, "resnet56": 6.0}
    made = Made(tmp_path, lambda model, seed: level[model] + 2 * spread(seed))
    assert made.settle("resnet20", "resnet32", "resnet56", looks=[3, 5, 7], gain=0.0) == [7, 7, 3]
    told, said = capsys.readouterr()
    assert "look 1 of 3, 3 seeds: 1 of 3 verdicts are open" in said
    lines = {line.split("  ")[0]: line for line in told.splitlines()}
    assert re.search(r"7 and 3 .* worse +settled", lines["resnet20 against resnet56"])
    assert "the plan ends at 7 seeds" in lines["resnet20 against resnet32"]
    # killed and typed again: the runs are there, and so are the decisions
    again = Made(tmp_path, lambda model, seed: 1 / 0)
    again.errors = lambda model, seed: 50.0
    assert again.settle("resnet20", "resnet32", "resnet56", looks=[3, 5, 7], gain=0.0) == [7, 7, 3]
    assert again.batches == made.batches and capsys.readouterr().out == told


def test_it_ends_where_a_further_seed_says_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Made(tmp_path, lambda model, seed: 9.0 + (8.0 if model == "resnet20" else 7.9) * spread(seed))
    assert made.settle("resnet20", "resnet32", looks=[3, 6, 12]) == [6, 6]
    assert re.search(r"inconclusive: .* a further seed would narrow the interval by \d% only", capsys.readouterr().out)


def test_a_study_is_settled_by_its_published_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ResNet-20 is far outside of the published run; the others lie near theirs, and their spread is one."""
    near = {"resnet20": 12.0, "resnet32": 7.5, "resnet44": 7.2}
    made = Made(tmp_path, lambda model, seed: near[model] + spread(seed), study="he2016_table6")
    assert made.settle(*near) == [3, 5, 5]
    told = capsys.readouterr().out
    assert re.search(r"ResNet-20, error % .* outside: ours is worse +settled", told)
    assert re.search(r"ResNet-32, error % .* consistent with: .* a further seed would narrow", told)


def test_a_divergence_settles_its_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(model: str, seed: int) -> float | None:
        return None if (model, seed) == ("resnet56", 1) else 9.0 + spread(seed)

    assert Made(tmp_path, error).settle("resnet56", "resnet20") == [3, 3]
    assert "failed: 1 of 3 runs diverged" in capsys.readouterr().out
    assert Made(tmp_path / "all", lambda model, seed: None).settle("resnet20", "resnet32") == [3, 3]
    assert "there is no verdict to settle" in capsys.readouterr().out


def test_what_is_no_plan_is_refused() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    def read(*words: str) -> list[int]:
        return read_auto(OverridesParser.create().parse_overrides(list(words)))

    assert read("seed=0,1", "model=a,b") == [] == read("model=a")
    assert read("seed=auto") == read("seed=0,1", "seed=choice(auto)") == LOOKS and read("seed=auto", "looks=[2,9]") == [
        2,
        9,
    ]
    for wrong in ("[]", "3", "[5,3]", "[1,2]", "[3,3]", "[3,a]"):
        with pytest.raises(UserError, match="type rising numbers"):
            read("seed=auto", f"looks={wrong}")


@pytest.mark.slow
def test_a_sweep_that_was_killed_continues(tmp_path: Path) -> None:
    words = [
        *TINY,
        "trainer.max_epochs=1",
        "seed=auto",
        "looks=[2,3]",
        "optim.lr=0.1,0.00001",
        f"output_root={tmp_path}",
    ]
    program = [sys.executable, "-m", "src.train", "-m", *words]
    with subprocess.Popen(program, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) as sweep:
        assert sweep.stderr is not None
        assert any("[1/4]" in line for line in sweep.stderr)
        sweep.send_signal(signal.SIGKILL)
    done = subprocess.run(program, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert "seed=auto, look 1 of 2, 2 seeds" in done.stderr and "Finished before" in done.stderr
    assert "stopped because" in done.stdout and " against " in done.stdout
    found = [results(file.parent) for file in tmp_path.glob("*/*/*/results.json")]
    assert len(found) in (4, 6) and all(result["status"] == "finished" for result in found)
    again = subprocess.run(program, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert again.stdout.splitlines()[:3] == done.stdout.splitlines()[:3]
