"""Summarize a report in a few sentences, for the head of the page and for the terminal."""

import statistics
from collections.abc import Sequence

from .claims import ClaimVerdict
from .entries import Entry, View
from .families import collect_verdicts, count_contradicted
from .groups import Group, build_arenas
from .verdict import judge_order
from .views import GENERAL

SENTENCES = 3  # of a summary without a study


UNJUDGED = ("not comparable", "not measured", "no run yet")


SAID = {  # words that read otherwise in a summary
    "consistent with": "consistent with the one published run",
    "outside": "outside what one run should be",
    "no run yet": "without a run",
}


def summarize_study(views: Sequence[View], claims: Sequence[ClaimVerdict]) -> list[str]:
    """Summarize a study: first how many of its numbers match, then its claims.

    A number that a constant answer reaches says nothing about a network and is not counted.
    """
    verdicts = [verdict.word for view in views for verdict in collect_verdicts(view)]
    verdicts = [word for word in verdicts if word != "not judged"]
    sentences = []
    contradicted = sum(count_contradicted(view) for view in views)
    left_out = f"{contradicted} that the source itself contradicts" if contradicted else ""
    if contradicted and not verdicts:
        sentences.append(f"No published number is left to judge, only {left_out}.")
    if verdicts:
        parts = [f"{verdicts.count('matches')} of {len(verdicts)} published numbers match"]
        others = ("consistent with", "outside", "better", "worse", "inconclusive", "failed", *UNJUDGED)
        for word in others:
            if word in verdicts:
                parts.append(f"{verdicts.count(word)} {SAID.get(word, word)}")
        parts += [f"not counting {left_out}"] if left_out else []
        sentences.append(", ".join(parts) + ".")
    judged = list({id(claim.claim): claim for claim in reversed(claims) if claim.claim.parts}.values())[::-1]
    for claim in judged[:2]:
        flags = f" ({'; '.join(claim.flags)})" if claim.flags else ""
        sentences.append(f"{claim.verdict.word.capitalize()}: {claim.claim.text.rstrip('.')}{flags}.")
    if len(judged) > 2:
        sentences.append(f"{len(judged) - 2} more claims below.")
    return sentences or ["Nothing in this study is judged by a number."]


def summarize_runs(groups: Sequence[Group]) -> list[str]:
    """Name the best group of each arena, and whether it is decidedly ahead of the next; the largest arenas first."""
    sentences = []
    for arena in sorted(build_arenas(groups), key=lambda arena: -sum(group.n for group in arena.groups)):
        ranked = [group for group in arena.groups if group.values(group.headline)]
        if not ranked:
            continue
        column = next(column for column in GENERAL if column.metric == ranked[0].headline)
        lower = column.better == "lower"
        ranked.sort(key=lambda group: statistics.fmean(group.values(group.headline)), reverse=not lower)
        best = ranked[0]
        ours = Entry(column, [value * column.scale for value in best.values(best.headline)]).ours
        text = f"{arena.title}: {best.label} has {column.title.removesuffix(' %')} {ours}{' %' if lower else ''}"
        text += f" (n = {best.n})"
        for second in ranked[1:2]:
            ends = (second, best) if lower else (best, second)
            verdict = judge_order(ends[0].values(best.headline), ends[1].values(best.headline))
            text += f", {'' if verdict.word == 'holds' else 'but not decidedly '}ahead of {second.label}"
        sentences.append(text + ".")
    more = [f"{len(sentences) - SENTENCES} more data sets or sizes below."] if len(sentences) > SENTENCES else []
    return sentences[:SENTENCES] + more or ["No run has a test result."]
