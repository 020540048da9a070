"""Simulate a few studies: verdicts are wrong about as seldom as docs/verdicts.md says, and seed=auto saves seeds."""

import pytest

from src.bench.verdicts import CALLED, Plan, main, simulate_errors, simulate_plan, simulate_savings, simulate_tables


def read_percent(text: str) -> float:
    return float(text.removesuffix("%")) / 100


@pytest.mark.slow
def test_verdicts_are_seldom_wrong() -> None:
    rows = {name: (read_percent(alone), read_percent(ours)) for name, alone, ours in simulate_tables(400)}
    for name, (alone, ours) in rows.items():
        if "a gap of" in name:
            assert ours >= 0.8, name
        elif "a cell" not in name:
            assert ours <= 0.08 < 0.3 < alone, name  # 5 % and two to three standard errors
    for name, called, _, matched, _ in simulate_errors(400):
        assert max(read_percent(called), read_percent(matched)) <= 0.08, name


@pytest.mark.slow
def test_looking_saves_seeds() -> None:
    """Planned for a gap of 0.1, of the seeds of a fixed plan with the same power."""
    for _, _, _, at_none, at_plan, at_twice, at_thrice, mean in simulate_savings(100):
        assert float(mean) <= 0.95 and max(float(at_twice), float(at_thrice)) <= 0.7
        assert float(at_plan) <= 1 and float(at_none) <= 1.3


def test_a_large_gap_takes_the_first_look_only(capsys: pytest.CaptureFixture[str]) -> None:
    called, seeds = simulate_plan(20, Plan(2, (3, 5, 7)), 10.0, 0.2, CALLED)
    assert called == 1 and seeds == 3
    main(["studies=2"])
    assert "seed=auto" in capsys.readouterr().out
