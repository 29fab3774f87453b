"""Dead letters: what a receiver did not take, listed for people, and put back when they say so."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from console.webhooks.hooks import Webhook
from shared.broker import Broker, words
from shared.keys import dead_letters_key, webhook_again_key, webhook_disabled_key

_PAGE = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them.

    Attributes:
        department: whose dispatch it is.
        entry_id: its own, among the department's dead letters.
        event: the dispatch.
        reason: a stable word, such as ``http_503`` or ``timeout``.
        tries: that were made.
        at: when it was given up, RFC 3339 UTC.
    """

    department: str
    entry_id: str
    event: str
    reason: str
    tries: int
    at: str


def dead_letters(broker: Broker, webhook: Webhook, since: str = "") -> Iterator[DeadLetter]:
    """A webhook's, by department, oldest first; those given up at or after `since` (RFC 3339 UTC)."""
    for department in webhook.departments:
        after = "-"
        while True:
            page: Any = broker.xrange(dead_letters_key(department), min=after, count=_PAGE)
            for entry_id, fields in page:
                about = words(fields)
                if about.get("webhook") == webhook.name and about.get("at", "") >= since:
                    yield DeadLetter(
                        department,
                        entry_id.decode(),
                        about.get("event", ""),
                        about.get("reason", ""),
                        int(about.get("tries") or 0),
                        about.get("at", ""),
                    )
            if len(page) < _PAGE:
                break
            after = "(" + page[-1][0].decode()


def disabled_since(broker: Broker, webhook: Webhook) -> str:
    """When a webhook was disabled, because its receiver said that it is gone; empty where it is not."""
    found: Any = broker.get(webhook_disabled_key(webhook.name))
    return str(json.loads(found)["at"]) if found else ""


def revive(broker: Broker, webhook: Webhook, since: str = "") -> int:
    """Put dead letters back to be delivered, and enable the webhook; how many there were.

    Each goes back in one step: a broker that goes away in between loses and doubles none.
    """
    broker.delete(webhook_disabled_key(webhook.name))
    revived = 0
    for letter in dead_letters(broker, webhook, since):
        with broker.pipeline(transaction=True) as pipeline:
            _add(pipeline, webhook, letter.department, letter.event)
            pipeline.xdel(dead_letters_key(letter.department), letter.entry_id)
            pipeline.execute()
        revived += 1
    return revived


def hand_over(broker: Broker, webhook: Webhook, department: str, events: Iterable[str]) -> int:
    """Give a webhook dispatches to deliver that may be in no stream any more; how many."""
    given = 0
    for event in events:
        _add(broker, webhook, department, event)
        given += 1
    return given


def _add(client: Any, webhook: Webhook, department: str, event: str) -> None:
    client.xadd(webhook_again_key(webhook.name), {"department": department, "event": event})
