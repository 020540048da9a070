"""Check the words: what they claim, what they leave open, and what several tests of one table may claim together."""

import pytest

from src.report.statistics import Sample
from src.report.verdict import Case, Verdict, judge_family, judge_order, judge_trend

FIVE = Sample(8.75, 5, 0.16, 4)


def judge(values: list[float], against: Sample = FIVE, better: str = "lower", margin: float | None = 0.35) -> Verdict:
    (verdict,), _ = judge_family([Case(dict(enumerate(values)), against, better, margin)])
    return verdict


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([8.70, 8.80, 8.75], "matches"),
        ([8.74, 8.76], "matches"),  # the published spread and number of runs count as well
        ([8.80, 9.15, 8.95], "inconclusive"),  # 0.2 off; both means have an error
        ([9.20, 9.30, 9.25], "worse"),
        ([8.20, 8.30, 8.25], "better"),
        ([8.25, 9.25, 8.75], "inconclusive"),  # noisy
        ([8.75], "consistent with"),  # one run of ours is never a match
        ([9.75], "outside"),
    ],
)
def test_a_published_mean_is_a_sample(values: list[float], word: str) -> None:
    assert judge(values).word == word
    opposite = {"better": "worse", "worse": "better"}.get(word, word)
    assert judge(values, better="higher").word == opposite


def test_a_published_run_is_never_matched() -> None:
    one = Sample(8.75, 1)
    found = judge([8.74, 8.76, 8.75, 8.75, 8.74], one)
    assert found.word == "consistent with" and found.match_p is None
    assert found.low is not None and found.high is not None and found.low < 0 < found.high
    outside = judge([8.0, 8.02, 8.01, 8.03, 7.99], one)
    assert str(outside) == "outside: ours is better" and judge([8.0, 8.02, 8.01], one, better="higher").reason == (
        "ours is worse"
    )
    # the mean's own interval leaves 8.75 out by far, but one more run could well be there
    assert judge([8.4, 8.8, 8.6, 8.5, 8.7, 8.6, 8.6, 8.6], one).word == "consistent with"


def test_what_shows_no_spread_decides_nothing() -> None:
    one = Sample(8.75, 1)
    assert str(judge([8.75], one)) == "inconclusive: one run, which shows no spread"
    assert str(judge([9.0, 9.0, 9.0], one)) == "inconclusive: all 3 runs gave the same number"
    assert judge([9.0, 9.0, 9.0]).word == "inconclusive"  # by the spread of the published runs


def test_an_open_verdict_says_how_many_seeds_would_decide() -> None:
    found = judge([8.60, 9.00, 8.85])
    assert found.needed is not None and found.needed > 3 and f"about {found.needed} needed" in found.reason
    wide = judge([8.60, 9.00, 8.85], Sample(8.75, 2, 3.0, 1))
    assert wide.needed is None and "more than 1000 needed" in wide.reason  # their spread is too wide for any number


def test_a_table_is_a_family() -> None:
    """A difference that is significant alone is not among twenty that are none."""
    off = Case({0: 8.95, 1: 9.05, 2: 9.0}, FIVE, "lower", 0.1)
    same = [Case({0: 8.6 + i / 100, 1: 8.8, 2: 9.1 - i / 100}, FIVE, "lower", 0.1) for i in range(20)]
    assert judge_family([off])[0][0].word == "worse"
    verdict = judge_family([off, *same])[0][0]
    assert verdict.word == "inconclusive" and verdict.p is not None and verdict.adjusted_p is not None
    assert verdict.p < 0.05 < verdict.adjusted_p and "(table: " in verdict.evidence
    # judged singly, as where the source contradicts itself: raw, and no burden to the others
    alone = Case(off.values, FIVE, "lower", 0.1, alone=True)
    assert judge_family([alone, *same])[0][0].word == "worse"
    assert judge_family([off, *[Case(c.values, FIVE, "lower", 0.1, alone=True) for c in same]])[0][0].word == "worse"
    # one number under two names counts once
    twice = [Case(off.values, FIVE, "lower", 0.1, column, number="a") for column in "xy"]
    assert judge_family(twice)[0][0].adjusted_p == judge_family(twice)[0][0].p


def test_rows_share_their_spread_where_it_may_be_one() -> None:
    one = Sample(8.75, 1)
    rows = [Case({0: c, 1: c + 0.2, 2: c + 0.1}, Sample(c, 1), "lower", 0.35, "error") for c in (9.0, 8.0, 7.0)]
    single = Case({0: 8.75}, one, "lower", 0.35, "error")
    verdicts, notes = judge_family([*rows, single])
    assert verdicts[-1].word == "consistent with" and "one spread for 3 rows, 0.1" in notes["error"]
    noisy = Case({0: 1.0, 1: 9.0, 2: 5.0}, one, "lower", 0.35, "error")
    verdicts, notes = judge_family([*rows, single, noisy])
    assert verdicts[3].word == "inconclusive" and "differ in spread" in notes["error"]


def test_a_look_spends_its_part_of_the_five_percent() -> None:
    """What three seeds would show in a fixed plan is open at the first of several looks."""
    values = {0: 9.05, 1: 9.2, 2: 9.12}
    fixed, planned = (
        judge_family([Case(values, FIVE, "lower", 0.35, looks=looks, least_gain=0)])[0][0] for looks in ([], [3, 30])
    )
    assert fixed.word == "worse" and planned.word == "inconclusive"
    assert fixed.p is not None and planned.p == pytest.approx(fixed.p / 0.01)
    # what the first look has shown stays shown, whatever the later seeds give
    found = {0: 9.5, 1: 9.52, 2: 9.51}
    later = found | {3: 8.0, 4: 10.9}
    for seeds in (found, later):
        assert judge_family([Case(seeds, FIVE, "lower", 0.35, looks=[3, 5], least_gain=0)])[0][0].word == "worse"
    assert judge_family([Case(later, FIVE, "lower", 0.35)])[0][0].word == "inconclusive"
    # a plan that ends early, for a further seed would say too little, spends most of what is left of the 5 %
    early = judge_family([Case(values, FIVE, "lower", 0.35, looks=[3, 30], least_gain=0.9)])[0][0]
    assert early.word == "worse" and early.ended and early.p == pytest.approx(fixed.p / 0.9)


def test_a_further_seed_narrows_less_and_less() -> None:
    def gain(n: int, against: Sample) -> float:
        return judge([8.6 + 0.1 * (i % 3) for i in range(n)], against).gain

    exact = Sample(8.7, 10**9, 1e-9, 10**9)
    assert gain(1, Sample(8.7, 1)) == 1 and gain(6, exact) > 0.1 > gain(7, exact)
    assert gain(4, Sample(8.7, 1)) > 0.1 > gain(6, Sample(8.7, 1))  # the spread of one run stays


def test_the_order_of_a_claim() -> None:
    plain, residual = [13.0, 13.2, 13.1], [7.0, 7.1, 6.9]
    assert judge_order(plain, residual).word == "holds" and judge_order(residual, plain).word == "reversed"
    near = judge_order([7.0, 7.4, 7.2], [7.0, 7.1, 6.9])
    assert near.word == "undecided" and near.needed is not None and near.needed > 3
    assert near.low is not None and near.high is not None and near.low < 0 < near.high
    assert judge_order([7.0, 7.1], [7.0, 7.1]).needed is None  # no number of seeds shows a difference that is none
    assert str(judge_order([9.0], [8.0])) == "undecided: one run each, as claimed"
    assert str(judge_order([2.0, 2.0], [1.0, 1.0])) == "undecided: no side shows a spread, as claimed"
    assert judge_order([9.0], [8.0, 8.1, 8.05]).word == "holds"  # one run may be compared with three


def test_the_trend_of_a_claim_is_no_test_of_two_ends() -> None:
    rising = [[c, c + 0.1, c + 0.2] for c in (1.0, 2.0, 3.0)]
    assert judge_trend(rising).word == "holds" and judge_trend(rising[::-1]).word == "reversed"
    assert judge_trend([rising[0], rising[2], rising[1]]).word == "undecided"
    # the ends rise, and so does the whole, but one step falls clearly
    dent = [[c, c + 0.1, c + 0.2] for c in (1.0, 2.0, 1.5, 3.0, 4.0)]
    assert "step 2 goes against it" in judge_trend(dent).reason
    assert judge_trend([[1.0], [2.0]]).reason == "as claimed, n = 1"
    assert judge_trend([[1.0, 1.1], []]).word == "undecided"
