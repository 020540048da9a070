"""What a study's text claims, judged on our runs: which of two means is the higher."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .groups import Group
from .published import Claim, Published
from .verdict import Verdict, order, spread
from .views import NO_RUN, about, against, stale


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim of the text, judged on two groups of ours, or on none."""

    claim: Claim
    verdict: Verdict
    higher: Group | None = None
    lower: Group | None = None
    flags: Sequence[str] = field(default_factory=tuple)

    @property
    def _scale(self) -> tuple[float, str]:
        points = str(self.claim.metric).rpartition("/")[2] in ("error", "top5_error", "accuracy")
        return (100, " %") if points else (1, "")

    def side(self, group: Group) -> str:
        """One side of the claim in words: resnet20 8.75 % ± 0.16 (n = 5)."""
        scale, unit = self._scale
        values = [value * scale for value in group.values(str(self.claim.metric))]
        std = spread(values)
        told_std = f" ± {std:.2f}" if std is not None else ""
        return f"{group.label} {statistics.fmean(values):.2f}{unit}{told_std} (n = {len(values)})"

    @property
    def bounds(self) -> str:
        """The interval of the difference in words; "" where there is none."""
        if self.verdict.low is None or self.verdict.high is None:
            return ""
        scale, unit = self._scale
        unit = " points" if unit else ""
        return f"; difference {self.verdict.low * scale:+.2f} to {self.verdict.high * scale:+.2f}{unit} (95 %)"

    def __str__(self) -> str:
        """The verdict on one line."""
        told = f"{self.verdict.word}: {self.claim.text.rstrip('.')}"
        reason = f" ({self.verdict.reason})" if self.verdict.reason else ""
        means = f"; {self.side(self.higher)} against {self.side(self.lower)}" if self.higher and self.lower else ""
        return told + reason + means + self.bounds + "".join(f"; {flag}" for flag in self.flags)


def judge_claims(published: Published, groups: Sequence[Group]) -> list[ClaimVerdict]:
    """Each claim with a metric on the groups it names: like with like, the longest training first."""
    found = []
    for claim in published.claims:
        if claim.metric is None:
            found.append(ClaimVerdict(claim, Verdict("not judged", "no metric stands for it")))
            continue
        pairs = list(like_with_like(claim, groups))
        if not pairs:
            found.append(ClaimVerdict(claim, NO_RUN))
        for higher, lower in pairs:
            narrowed = against(published.protocol, None, higher)
            warnings = [f"not as published: {', '.join(narrowed)}"] if narrowed else []
            warnings += [f"{group.label} {flag}" for group in (higher, lower) for flag in stale(group)]
            apart = [name for name in sorted(apart_in(higher, lower)) if not name.startswith("model.")]
            warnings += [f"the two also differ in {', '.join(apart)}"] if apart else []
            verdict = order(higher.values(claim.metric), lower.values(claim.metric))
            found.append(ClaimVerdict(claim, verdict, higher, lower, warnings))
    return found


def like_with_like(claim: Claim, groups: Sequence[Group]) -> Iterable[tuple[Group, Group]]:
    """The pairs of groups that a claim compares: equally long, on as much data, and in settings as near as can be."""
    metric = str(claim.metric)
    measured = [group for group in groups if group.values(metric)]
    for higher in sorted(measured, key=lambda g: -int(g.epochs)):
        if not about(claim.higher, higher):
            continue
        like = [
            lower
            for lower in measured
            if about(claim.lower, lower)
            and all(getattr(lower, name) == getattr(higher, name) for name in ("epochs", "n_train", "protocol"))
        ]
        if like:
            yield higher, min(like, key=lambda lower: len(apart_in(higher, lower)))


def apart_in(a: Group, b: Group) -> set[str]:
    """The names of the settings that two groups do not share."""
    names = a.settings.keys() | b.settings.keys()
    return {name for name in names if a.settings.get(name, ...) != b.settings.get(name, ...)}
