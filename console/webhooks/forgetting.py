"""Forgetting a webhook that is in the file no more: the broker keeps its groups, and they lag for ever."""

from collections.abc import Iterable
from typing import Any

from redis.exceptions import ResponseError

from console.webhooks.dead import dead_letters
from console.webhooks.hooks import Webhook
from shared.broker import Broker
from shared.keys import (
    WEBHOOKS_FOLLOWING,
    dead_letters_key,
    dispatch_key,
    webhook_again_key,
    webhook_disabled_key,
    webhook_group,
    webhook_later_key,
    webhook_position_key,
)


def forget(broker: Broker, webhook: Webhook) -> int:
    """Remove a webhook's groups, its keys and its dead letters; how many of these there were.

    Args:
        broker: whom it is in.
        webhook: what is known of it: its name, and departments that it may have been for.

    Raises:
        RedisError: the broker is away; to be repeated then.
    """
    removed = sum(_destroy(broker, dispatch_key(word), webhook.name) for word in webhook.departments)
    for letter in list(dead_letters(broker, webhook)):
        removed += int(_number(broker.xdel(dead_letters_key(letter.department), letter.entry_id)))
    removed += _number(broker.hdel(WEBHOOKS_FOLLOWING, webhook.name))
    return removed + sum(_number(broker.delete(key)) for key in _keys(webhook.name))


def _destroy(broker: Broker, stream: str, name: str) -> int:
    try:
        return _number(broker.xgroup_destroy(stream, webhook_group(name)))
    except ResponseError as error:
        if "key to exist" in str(error):  # a department that nothing was ever dispatched to
            return 0
        raise


def _keys(name: str) -> Iterable[str]:
    makers = webhook_later_key, webhook_again_key, webhook_position_key, webhook_disabled_key
    return [make(name) for make in makers]


def _number(reply: Any) -> int:
    return int(reply)
