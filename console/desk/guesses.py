"""Guesses: what an undecided picture most likely shows, whom that concerns, and how long it waits."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from console.tables import DESK, IncidentRecord
from shared.routing import REVIEW, Routing
from shared.settings import Settings
from shared.verdict import Verdict

_SECOND_SHARE = 0.5
"""The second most likely situation counts too from this share of the first one's score on (DESIGN 3.9)."""


def likely(record: IncidentRecord, routing: Routing) -> list[str]:
    """The most likely situation of a picture, and the second if it is half as likely; none without scores."""
    scores = {
        word: score for word, score in record.scores.items() if word in routing.situations and score > 0
    }
    if not scores:
        return [record.situation] if record.situation in routing.situations else []
    ranked = sorted(scores, key=lambda word: (-scores[word], word != record.situation, word))
    return [word for word in ranked[:2] if scores[word] >= _SECOND_SHARE * scores[ranked[0]]]


def concerned(guesses: list[str], routing: Routing) -> list[str]:
    """Departments that are called if nobody decides, the most likely situation's first."""
    if guesses:
        return list(dict.fromkeys(word for guess in guesses for word in routing.streams(guess)))
    fallback = routing.fallback.get(REVIEW)
    # Without a guess and without a fallback: better everybody than nobody.
    return [fallback] if fallback else list(routing.departments)


def waits(record: IncidentRecord) -> bool:
    """Whether a picture waits for a reviewer, and has not gone out UNVERIFIED either."""
    return record.verdict == Verdict.UNSURE.value and record.decided_by != DESK


def waits_until(records: Iterable[IncidentRecord], settings: Settings, now: datetime) -> datetime | None:
    """When the first of some pictures has waited long enough for a reviewer; None where none waits.

    Never later than their time from now, whatever a clock that was ahead has written.
    """
    # The later of the two may have been moved: by a merger, or by a dispatch to one more department.
    since = [min(each.decided_at, each.joined_at) for each in records if waits(each)]
    return min(*since, now) + timedelta(seconds=settings.review_within_s) if since else None
