"""The webhooks service: a thread for each webhook, and a heartbeat for all of them."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from redis.exceptions import RedisError
from sqlalchemy import Engine

from console.webhooks.bodies import Bodies
from console.webhooks.fates import FIRST_WAIT_S
from console.webhooks.following import Follower
from console.webhooks.hooks import Form, Webhook
from console.webhooks.letters import ABANDONED_S, Letters
from console.webhooks.runner import LOOK_EVERY_S, Runner
from shared.broker import Broker, is_broker_fault
from shared.heartbeats import BEAT_S, WEBHOOKS, beat, end, process_name

log = structlog.get_logger()

_STOP_S = 20.0
_HANGS_S = 60.0


class WebhookService:
    """Delivers for every webhook of a file. Several processes may do so for the same ones."""

    def __init__(
        self,
        broker: Broker,
        webhooks: Sequence[Webhook],
        bodies: Bodies,
        *,
        record: Engine | None = None,
        keep: timedelta = timedelta(days=30),
        first_wait_s: float = FIRST_WAIT_S,
        look_every_s: float = LOOK_EVERY_S,
        abandoned_s: float = ABANDONED_S,
    ) -> None:
        """Nothing is read or sent before `run`.

        Args:
            broker: with dispatches, and what waits.
            webhooks: whom to deliver to.
            bodies: what they are sent.
            record: the desk's, read only, where one is sent CAP.
            keep: how far back one is sent it that begins at the beginning.
            first_wait_s: between the first try and the second.
            look_every_s: how often what was left behind is looked for.
            abandoned_s: after which time it counts as that.

        Raises:
            ConfigError: a secret or a file of authorities can't be used.
        """
        self._broker = broker
        self._name = process_name()
        self._ended = False
        self._runners = [
            Runner(
                webhook,
                Letters(broker, webhook, abandoned_s=abandoned_s),
                bodies,
                lambda: self._ended,
                follower=_follower(broker, webhook, record, keep),
                first_wait_s=first_wait_s,
                look_every_s=look_every_s,
            )
            for webhook in webhooks
        ]

    def run(self, stop: Callable[[], bool], listening: Callable[[], None] = lambda: None) -> None:
        """Deliver until `stop` turns true; `listening` is told once it has begun."""
        for runner in self._runners:
            runner.start()
        log.info("webhooks are delivered", webhooks=[runner.name for runner in self._runners])
        listening()
        beat_at_s = float("-inf")
        try:
            while all(runner.is_alive() for runner in self._runners):
                # Asking counts as a turn of the main loop: one that hangs is told to who watches over it.
                if all(runner.silent_s() < _HANGS_S for runner in self._runners) and stop():
                    break
                if time.monotonic() - beat_at_s >= BEAT_S:
                    beat_at_s = time.monotonic()
                    self._beat()
                time.sleep(0.1)
        finally:
            self._ended = True
            until_s = time.monotonic() + _STOP_S
            for runner in self._runners:
                runner.join(max(0.0, until_s - time.monotonic()))
            self._say_goodbye()

    def _beat(self) -> None:
        try:
            beat(self._broker, WEBHOOKS, self._name)
        except RedisError as error:
            if not is_broker_fault(error):
                raise  # the runners wait for one that is away, and say so

    def _say_goodbye(self) -> None:
        try:
            end(self._broker, WEBHOOKS, self._name)
        except RedisError as error:
            log.debug("the heartbeat ends by itself", error=str(error))


def _follower(broker: Broker, webhook: Webhook, record: Engine | None, keep: timedelta) -> Follower | None:
    if webhook.form is not Form.CAP:
        return None
    assert record is not None, "the record is opened where a webhook wants CAP"
    return Follower(broker, webhook, record, keep)
