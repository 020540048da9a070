"""Judge the claims of a study's text on our runs: which of two means is higher."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .families import NO_RUN
from .groups import Group
from .published import Claim, Published
from .verdict import Verdict, compute_std, judge_order
from .views import concerns, flag_stale, list_mismatches


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim of the text with its verdict, and the two groups that it was judged on, if any."""

    claim: Claim
    verdict: Verdict
    higher: Group | None = None
    lower: Group | None = None
    flags: Sequence[str] = field(default_factory=tuple)

    @property
    def _scale(self) -> tuple[float, str]:
        points = str(self.claim.metric).rpartition("/")[2] in ("error", "top5_error", "accuracy")
        return (100, " %") if points else (1, "")

    def describe_side(self, group: Group) -> str:
        """Describe one side of the claim: resnet20 8.75 % ± 0.16 (n = 5)."""
        scale, unit = self._scale
        values = [value * scale for value in group.values(str(self.claim.metric))]
        std = compute_std(values)
        deviation = f" ± {std:.2f}" if std is not None else ""
        return f"{group.label} {statistics.fmean(values):.2f}{unit}{deviation} (n = {len(values)})"

    @property
    def bounds(self) -> str:
        """The confidence interval of the difference in words; "" where there is none."""
        if self.verdict.low is None or self.verdict.high is None:
            return ""
        scale, unit = self._scale
        unit = " points" if unit else ""
        return f"; difference {self.verdict.low * scale:+.2f} to {self.verdict.high * scale:+.2f}{unit} (95 %)"

    def __str__(self) -> str:
        text = f"{self.verdict.word}: {self.claim.text.rstrip('.')}"
        text += f" ({self.verdict.reason})" if self.verdict.reason else ""
        if self.higher and self.lower:
            text += f"; {self.describe_side(self.higher)} against {self.describe_side(self.lower)}"
        return text + self.bounds + "".join(f"; {flag}" for flag in self.flags)


def judge_claims(published: Published, groups: Sequence[Group]) -> list[ClaimVerdict]:
    """Judge each claim that has a metric on every pair of groups it is about, the longest training first."""
    found = []
    for claim in published.claims:
        if claim.metric is None:
            found.append(ClaimVerdict(claim, Verdict("not judged", "no metric stands for it")))
            continue
        pairs = list(pair_groups(claim, groups))
        if not pairs:
            found.append(ClaimVerdict(claim, NO_RUN))
        for higher, lower in pairs:
            mismatches = list_mismatches(published.protocol, None, higher)
            warnings = [f"not as published: {', '.join(mismatches)}"] if mismatches else []
            warnings += [f"{group.label} {flag}" for group in (higher, lower) for flag in flag_stale(group)]
            others = [name for name in sorted(find_differences(higher, lower)) if not name.startswith("model.")]
            warnings += [f"the two also differ in {', '.join(others)}"] if others else []
            verdict = judge_order(higher.values(claim.metric), lower.values(claim.metric))
            found.append(ClaimVerdict(claim, verdict, higher, lower, warnings))
    return found


def pair_groups(claim: Claim, groups: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """Yield the pairs of groups that a claim compares.

    The two were trained for equally many epochs on equally many images, and their settings differ as little as
    possible.
    """
    metric = str(claim.metric)
    measured = [group for group in groups if group.values(metric)]
    for higher in sorted(measured, key=lambda group: -group.epochs):
        if not concerns(claim.higher, higher):
            continue
        similar = [
            lower
            for lower in measured
            if concerns(claim.lower, lower)
            and (lower.epochs, lower.n_train, lower.protocol) == (higher.epochs, higher.n_train, higher.protocol)
        ]
        if similar:
            yield higher, min(similar, key=lambda lower: len(find_differences(higher, lower)))


def find_differences(a: Group, b: Group) -> set[str]:
    """Return the names of the settings that two groups do not share."""
    names = a.settings.keys() | b.settings.keys()
    return {name for name in names if a.settings.get(name, ...) != b.settings.get(name, ...)}
