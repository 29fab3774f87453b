"""Which model decides: an operator announces it in the broker, every worker follows, one command undoes it.

almenara:model   hash    current: `DIGEST NAME`, or `-` for the checkpoint that a worker is configured with;
                         previous: the same, a line each, the last one first; generation: one more for
                         each announcement; since: RFC 3339 UTC; by: who said so
almenara:models  stream  what (announced, rolled_back, swapped, refused), model, by, at, detail, seconds
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.broker import Broker, words
from shared.errors import ConfigError, PermanentError
from shared.incidents import iso, utc_now
from shared.keys import MODEL, MODELS

PREVIOUS_KEPT = 10
HISTORY_KEPT = 1000
FINGERPRINT_DIGITS = 12
"""Of a digest, in records; as `Checkpoint.fingerprint` has it."""

_CONFIGURED = "-"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ModelRecordError(PermanentError):
    """Raised when what the broker holds as the announcement of a model is none."""

    default_reason = "bad_model_record"


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint file by its content.

    Attributes:
        digest: SHA-256 of the file, hexadecimal.
        name: of the file, without its ending; letters, digits and ``._-``.
    """

    digest: str
    name: str

    def __post_init__(self) -> None:
        """Hold what becomes a path on every worker's disk to what is harmless there.

        Raises:
            ModelRecordError: it is not.
        """
        if not _DIGEST.fullmatch(self.digest) or not _NAME.fullmatch(self.name):
            raise ModelRecordError(
                "a model is announced by 64 hexadecimal digits and a name of letters, digits and ._-"
            )

    @property
    def fingerprint(self) -> str:
        """As records have it."""
        return self.digest[:FINGERPRINT_DIGITS]

    @property
    def model_id(self) -> str:
        """As ``Checkpoint.model_id``: ``street6-resnet34@0123456789ab``."""
        return f"{self.name}@{self.fingerprint}"

    @classmethod
    def parse(cls, text: str) -> "Model | None":
        """From `DIGEST NAME`; `-` is the configured checkpoint.

        Raises:
            ModelRecordError: it is neither.
        """
        if text == _CONFIGURED:
            return None
        digest, _, name = text.partition(" ")
        return cls(digest, name)


def is_name(text: str) -> bool:
    """Whether a file may be announced under this name."""
    return _NAME.fullmatch(text) is not None


def text_of(model: Model | None) -> str:
    """The inverse of `Model.parse`."""
    return f"{model.digest} {model.name}" if model else _CONFIGURED


def shown(model: Model | None) -> str:
    """For people."""
    return model.model_id if model else "the configured checkpoint"


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """What stands in the broker.

    Attributes:
        model: which one decides; None: the checkpoint that each worker is configured with.
        previous: what was announced before, the last one first.
        generation: grows with each announcement; 0: there was none yet.
        since: RFC 3339 UTC, or an empty string.
        by: who announced it.
    """

    model: Model | None = None
    previous: tuple[Model | None, ...] = ()
    generation: int = 0
    since: str = ""
    by: str = ""

    @classmethod
    def fetch(cls, broker: Broker) -> "Announcement":
        """What is announced now.

        Raises:
            ModelRecordError: the record is damaged.
            RedisError: the broker is away.
        """
        return cls.from_fields(words(broker.hgetall(MODEL)))

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "Announcement":
        """From the broker's hash.

        Raises:
            ModelRecordError: a field is wrong.
        """
        if not fields:
            return cls()
        previous = fields.get("previous", "")
        try:
            return cls(
                model=Model.parse(fields["current"]),
                previous=tuple(Model.parse(each) for each in previous.split("\n")) if previous else (),
                generation=int(fields["generation"]),
                since=fields.get("since", ""),
                by=fields.get("by", ""),
            )
        except (KeyError, ValueError) as error:
            raise ModelRecordError(f"the announcement of the model is damaged: {error!r}") from error

    def about(self) -> dict[str, Any]:
        """For people and scripts, JSON values; ``announced`` is None where there was no announcement."""
        return {
            "announced": shown(self.model) if self.generation else None,
            "digest": self.model.digest if self.model else None,
            "generation": self.generation,
            "since": self.since,
            "by": self.by,
        }

    def is_same(self, other: "Announcement") -> bool:
        """Whether both are one act of one person; a broker that lost its data may give a number again."""
        return (self.generation, self.since) == (other.generation, other.since)


def announcement_in(fields: Mapping[Any, Any] | None) -> Announcement:
    """What is announced, from the reply of HGETALL; where that is damaged, nothing."""
    try:
        return Announcement.from_fields(words(dict(fields or {})))
    except ModelRecordError:
        return Announcement()


def lags(worker: Mapping[str, Any], announcement: Announcement) -> bool:
    """Whether a worker decides otherwise than announced.

    Args:
        worker: its ``model``, ``generation`` and ``refused``, as `shared.vitals.read` has them.
        announcement: what stands in the broker.
    """
    if not announcement.generation:
        return False
    if worker["refused"] or worker["generation"] != announcement.generation:
        return True
    return (
        announcement.model is not None and fingerprint_of(worker["model"]) != announcement.model.fingerprint
    )


def fingerprint_of(model: str) -> str:
    """Of a model as records name it: ``street6-resnet34@0123456789ab openvino-bf16``."""
    return model.rpartition("@")[2].partition(" ")[0]


def announce(broker: Broker, model: Model, by: str) -> Announcement:
    """Let a model decide from now on. Announced again, workers that could not use it try again.

    Raises:
        RedisError: the broker is away or refuses; it may have been announced.
    """

    def choose(before: Announcement) -> tuple[Model | None, tuple[Model | None, ...]]:
        if before.generation and before.model == model:
            return model, before.previous
        return model, (before.model, *before.previous)[:PREVIOUS_KEPT]

    return _change(broker, "announced", by, choose)


def roll_back(broker: Broker, by: str) -> Announcement:
    """Let the model before decide again, or, before the first announcement, each worker's configured one.

    Raises:
        ConfigError: nothing was announced before.
        RedisError: the broker is away or refuses; it may have been rolled back.
    """

    def choose(before: Announcement) -> tuple[Model | None, tuple[Model | None, ...]]:
        if not before.previous:
            raise ConfigError(
                f"there is no model before {shown(before.model)}",
                remedy="see `almenara model list`, and name one with `almenara model use`",
            )
        return before.previous[0], before.previous[1:]

    return _change(broker, "rolled_back", by, choose)


def note(broker: Broker, what: str, model: Model | None, by: str, **more: str) -> None:
    """Add to the history what became of a model.

    Raises:
        RedisError: the broker is away or refuses.
    """
    fields: Any = _entry(what, model, by, **more)
    broker.xadd(MODELS, fields, maxlen=HISTORY_KEPT, approximate=True)


def history(broker: Broker, count: int) -> list[dict[str, str]]:
    """The last entries of the history, the newest first."""
    entries: Any = broker.xrevrange(MODELS, count=count)
    return [words(fields) for _, fields in entries]


def _change(
    broker: Broker,
    what: str,
    by: str,
    choose: Callable[[Announcement], tuple[Model | None, tuple[Model | None, ...]]],
) -> Announcement:
    made: list[Announcement] = []

    def change(pipeline: Any) -> None:
        before = Announcement.from_fields(words(pipeline.hgetall(MODEL)))
        model, previous = choose(before)
        after = Announcement(
            model=model, previous=previous, generation=before.generation + 1, since=iso(utc_now()), by=by
        )
        made.append(after)
        pipeline.multi()
        pipeline.hset(MODEL, mapping=_fields(after))
        pipeline.xadd(MODELS, _entry(what, model, by), maxlen=HISTORY_KEPT, approximate=True)

    broker.transaction(change, MODEL)
    return made[-1]


def _fields(announcement: Announcement) -> dict[str, str]:
    return {
        "current": text_of(announcement.model),
        "previous": "\n".join(map(text_of, announcement.previous)),
        "generation": str(announcement.generation),
        "since": announcement.since,
        "by": announcement.by,
    }


def _entry(what: str, model: Model | None, by: str, **more: str) -> dict[str, str]:
    return {"what": what, "model": shown(model), "by": by, "at": iso(utc_now()), **more}
