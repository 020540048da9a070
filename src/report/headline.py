"""The outcome of a report in a few sentences, for its head and for the terminal."""

import statistics
from collections.abc import Sequence

from .claims import ClaimVerdict
from .groups import Group, arenas
from .verdict import order
from .views import GENERAL, Entry, View, settled

SENTENCES = 3  # of a general headline


def study_headline(views: Sequence[View], claims: Sequence[ClaimVerdict]) -> list[str]:
    """The outcome of a study in sentences: its numbers first, then its claims."""
    verdicts = [verdict.word for view in views for verdict in settled(view)]
    sentences = []
    if verdicts:
        told = [f"{verdicts.count('matches')} of {len(verdicts)} published numbers match"]
        words = {
            "better": "better",
            "worse": "worse",
            "inconclusive": "inconclusive",
            "not comparable": "not comparable",
        }
        words |= {"not measured": "not measured", "no run yet": "without a run"}
        told += [f"{verdicts.count(word)} {text}" for word, text in words.items() if word in verdicts]
        sentences.append(", ".join(told) + ".")
    judged = [claim for claim in claims if claim.claim.metric]
    for claim in judged[:2]:
        beware = f" ({'; '.join(claim.flags)})" if claim.flags else ""
        sentences.append(f"{claim.verdict.word.capitalize()}: {claim.claim.text.rstrip('.')}{beware}.")
    if len(judged) > 2:
        sentences.append(f"{len(judged) - 2} more claims below.")
    return sentences or ["Nothing in this study is judged by a number."]


def general_headline(groups: Sequence[Group]) -> list[str]:
    """The best group of each arena in words, and whether the next one is really behind it; the largest arenas first."""
    told = []
    for arena in sorted(arenas(groups), key=lambda arena: -sum(group.n for group in arena.groups)):
        like = [group for group in arena.groups if group.values(group.headline)]
        if not like:
            continue
        column = next(column for column in GENERAL if column.metric == like[0].headline)
        lower = column.better == "lower"
        like.sort(key=lambda group: statistics.fmean(group.values(group.headline)), reverse=not lower)
        best, following = like[0], like[1:2]
        ours = Entry(column, [value * column.scale for value in best.values(best.headline)]).ours
        text = f"{arena.title}: {best.label} has {column.title.removesuffix(' %')} {ours}{' %' if lower else ''}"
        text += f" (n = {best.n})"
        for second in following:
            ends = (second, best) if lower else (best, second)
            ahead = order(ends[0].values(best.headline), ends[1].values(best.headline)).word == "holds"
            text += f", ahead of {second.label}" if ahead else f", but not decidedly ahead of {second.label}"
        told.append(text + ".")
    more = [f"{len(told) - SENTENCES} more data sets or sizes below."] if len(told) > SENTENCES else []
    return told[:SENTENCES] + more or ["No run has a test result."]
