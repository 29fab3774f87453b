"""Moments as people read them: the time of day here, and how long ago or ahead it is."""

from datetime import UTC, datetime

_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400


def read(moment: str) -> datetime:
    """An RFC 3339 time of a record, aware. One that is none is the beginning of time, and shows as such."""
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def clock(moment: str, now: datetime) -> str:
    """The time of day here, and the date where it is not today's: ``12:03:10``."""
    local, today = read(moment).astimezone(), now.astimezone().date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"


def since_s(moment: str, now: datetime) -> float:
    """Seconds since a moment; negative where it is still to come."""
    return (now - read(moment)).total_seconds()


def age(seconds: float) -> str:
    """A length of time in at most five characters: ``45s``, ``12m``, ``3h05``, ``5d``; 0 if negative."""
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole}s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m"
    if whole < 2 * _DAY_S:
        return f"{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02}"
    return f"{whole // _DAY_S}d"


def spell(seconds: float) -> str:
    """A length of time in words: ``45 s``, ``2 min 5 s``, ``3 h 5 min``."""
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
