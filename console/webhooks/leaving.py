"""Leaving the streams of dispatches: where a webhook of format `cap` was, that once followed them."""

from collections.abc import Iterator
from typing import Any

from redis.exceptions import ResponseError

from console.webhooks.hooks import Webhook
from shared.broker import Broker
from shared.keys import DISPATCH_PREFIX, dispatch_key, webhook_group, webhook_later_key


def oldest_left_s(broker: Broker, webhook: Webhook) -> float | None:
    """Broker time of the oldest dispatch that it had not delivered, or of the last; None: it has no group."""
    stood = [_stands(broker, webhook, stream, group) for stream, group in _groups(broker, webhook)]
    return min(map(_entry_s, stood), default=None)


def leave_streams(broker: Broker, webhook: Webhook) -> None:
    """Remove its groups, lest they lag for ever, and what it had yet to try of them."""
    for stream, _ in _groups(broker, webhook):
        later = webhook_later_key(webhook.name)
        members: Any = broker.zrange(later, 0, -1)
        left = [member for member in members if member.startswith(DISPATCH_PREFIX.encode())]
        if left:
            broker.zrem(later, *left)
        broker.xgroup_destroy(stream, webhook_group(webhook.name))


def _groups(broker: Broker, webhook: Webhook) -> Iterator[tuple[str, Any]]:
    for stream in map(dispatch_key, webhook.departments):
        try:
            groups: Any = broker.xinfo_groups(stream)
        except ResponseError as error:
            if "no such key" in str(error):
                continue
            raise
        for group in groups:
            if group["name"] == webhook_group(webhook.name).encode():
                yield stream, group


def _stands(broker: Broker, webhook: Webhook, stream: str, group: Any) -> bytes:
    """The id of the oldest that it has read and not delivered; else of the last that it has read."""
    pending: Any = broker.xpending(stream, webhook_group(webhook.name))
    return bytes(pending["min"] or group["last-delivered-id"])


def _entry_s(entry_id: bytes) -> float:
    return int(entry_id.partition(b"-")[0]) / 1000
