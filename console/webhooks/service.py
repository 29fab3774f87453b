"""The webhooks service: a thread for each webhook, and a heartbeat for all of them."""

import time
from collections.abc import Callable, Sequence

import structlog
from redis.exceptions import RedisError

from console.webhooks.bodies import Bodies
from console.webhooks.fates import FIRST_WAIT_S
from console.webhooks.hooks import Webhook
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
        first_wait_s: float = FIRST_WAIT_S,
        look_every_s: float = LOOK_EVERY_S,
        abandoned_s: float = ABANDONED_S,
    ) -> None:
        """Nothing is read or sent before `run`.

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
