"""Names of what is kept in the broker. shared/scripts/prelude.lua says what each holds."""

QUEUE = "classify"
"""The RQ queue between ingest and worker. One queue only: RQ loses jobs of a worker that pops from two."""

CLASSIFY_FUNCTION = "worker.jobs.classify"
"""The one function a worker runs, enqueued by name so that ingest never loads torch."""

INCIDENTS = "almenara:incidents"
COUNTS = "almenara:counts"
LEASES = "almenara:lease"
DISPATCH_PREFIX = "dispatch:"
INGESTER_PREFIX = "almenara:ingester:"

CHANGED = "almenara:changed"
"""The stream that tells the desk which incidents were decided, amended or sent again."""

BOARD_VERSION = "almenara:board"
"""The last version of the desk's record that stands on the boards."""

LABEL_SEEN = "almenara:label_seen"
"""The hash of the cameras that are watched: label -> broker time in seconds of its last picture.

With `WATCHED` behind it: since when the camera is watched that has never sent one."""
WATCHED = "watched"

MODEL = "almenara:model"
"""The hash that says which model decides (fields: shared/announcements.py); only operators write it."""

MODELS = "almenara:models"
"""The stream of what became of models: announced by operators, swapped or refused by workers. Bounded."""


WEBHOOKS_FOLLOWING = "webhooks:following"
"""The hash of webhooks that send CAP: name -> JSON of how far each is, for whom can't see the record."""


def incident_key(incident_id: str) -> str:
    """The hash that holds one incident."""
    return f"almenara:incident:{incident_id}"


def decisions_key(incident_id: str) -> str:
    """The set of ids of the later decisions on one incident."""
    return f"almenara:decisions:{incident_id}"


def dispatch_key(department: str) -> str:
    """The stream of one department's dispatches, or of ``review``."""
    return DISPATCH_PREFIX + department


def moves_key(department: str) -> str:
    """The stream that consoles of one department append moves to, and nobody else."""
    return f"moves:{department}"


def board_key(department: str) -> str:
    """The stream of what changes on one department's board, of ``review``'s, or of ``all``."""
    return f"board:{department}"


def open_key(department: str) -> str:
    """The hash of every row now open on one department's board: case -> JSON."""
    return f"open:{department}"


def alive_key(service: str) -> str:
    """The sorted set of a service's processes that say that they live: name -> broker time in seconds."""
    return f"almenara:alive:{service}"


def listening_key(department: str) -> str:
    """The sorted set of the consoles that listen for a department: console -> broker time in seconds."""
    return f"almenara:listening:{department}"


def dead_letters_key(department: str) -> str:
    """The stream of dispatches of a department that no receiver of a webhook took."""
    return f"webhooks:dead:{department}"


def webhook_group(name: str) -> str:
    """The consumer group of one webhook, on each stream that it delivers from."""
    return f"webhooks:{name}"


def webhook_later_key(name: str) -> str:
    """The sorted set of what one webhook tries again: ``<stream> <entry>`` -> broker time in seconds."""
    return f"webhooks:later:{name}"


def webhook_again_key(name: str) -> str:
    """The stream of what a person has one webhook deliver once more, and of the CAP messages of one."""
    return f"webhooks:again:{name}"


def webhook_position_key(name: str) -> str:
    """How far one webhook that sends CAP messages has read the desk's record: JSON."""
    return f"webhooks:position:{name}"


def webhook_disabled_key(name: str) -> str:
    """There while a webhook is sent nothing, because its receiver is gone: JSON of why and when."""
    return f"webhooks:disabled:{name}"
