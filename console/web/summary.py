"""What a stretch of history comes to: counts, and how long departments took."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from pydantic import BaseModel

from console.tables import Assignment, Case
from console.web.history import History
from shared.incidents import iso
from shared.routing import NORMAL, REVIEW
from shared.verdict import Verdict


class DayCount(BaseModel):
    """Cases that were opened on one day, in UTC."""

    day: str
    count: int


class Times(BaseModel):
    """Seconds from dispatch to the first acknowledgement, over those that were acknowledged."""

    count: int
    median: float
    p90: float


class Summary(BaseModel):
    """Counts of cases, and times of departments.

    In `by_situation`, ``normal`` is no emergency; the empty word is what nobody has decided yet.
    """

    by_situation: dict[str, int]
    by_day: list[DayCount]
    acknowledge_s: dict[str, Times]
    verdicts: dict[str, int]


def summarise(history: History) -> Summary:
    """Read a search's cases once and their assignments once."""
    situations, days, verdicts = Counter[str](), Counter[str](), Counter[str]()
    for situation, opened_at, verdict in history.cases(Case.situation, Case.opened_at, Case.verdict):
        situations[NORMAL if verdict == Verdict.NO_EMERGENCY else situation or ""] += 1
        days[iso(opened_at)[:10]] += 1
        verdicts[verdict] += 1
    taken_s: dict[str, list[float]] = defaultdict(list)
    columns = (Assignment.department, Assignment.dispatched_at, Assignment.acknowledged_at)
    for department, dispatched_at, acknowledged_at in history.assignments(*columns):
        # Opened again after it was closed, it was acknowledged before it was last sent: no time to count.
        if department != REVIEW and acknowledged_at is not None and acknowledged_at >= dispatched_at:
            taken_s[department].append((acknowledged_at - dispatched_at).total_seconds())
    return Summary(
        by_situation=dict(situations.most_common()),
        by_day=[DayCount(day=day, count=count) for day, count in sorted(days.items())],
        acknowledge_s={department: _times(each_s) for department, each_s in sorted(taken_s.items())},
        verdicts=dict(verdicts),
    )


def _times(taken_s: Sequence[float]) -> Times:
    ordered = sorted(taken_s)
    return Times(count=len(ordered), median=_quantile(ordered, 0.5), p90=_quantile(ordered, 0.9))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest that at least this share does not exceed (nearest rank)."""
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)
