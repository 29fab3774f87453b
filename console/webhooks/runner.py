"""One webhook at work: what comes, what is due and what was left behind, a few at a time, each tried once."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice

import structlog
from redis.exceptions import RedisError, ResponseError
from sqlalchemy.exc import SQLAlchemyError

from console.cap import NoAlertError
from console.outages import said
from console.webhooks.bodies import Bodies
from console.webhooks.fates import FIRST_WAIT_S, Answer, Fate, fate_of, wait_s
from console.webhooks.following import Follower
from console.webhooks.hooks import Webhook
from console.webhooks.letters import Letter, Letters
from console.webhooks.posting import CONNECTIONS, Poster
from console.webhooks.signing import Signer
from shared.broker import BrokerAwayError, patiently
from shared.errors import PermanentError
from shared.incidents import utc_now
from shared.liveness import Liveness
from shared.metrics import WEBHOOK_DELIVERIES, WEBHOOK_SECONDS

log = structlog.get_logger()

BLOCK_MS = 1000
LOOK_EVERY_S = 15.0
"""How often what a process that died left behind is looked for."""
LEAVE_S = 3.0
"""For tries that are on their way when the service stops; the rest is tried after the next start."""
PAUSE_S = 5.0
"""After a fault that nobody foresaw, and while a webhook is disabled."""
_LEFT = 64
"""Of what was left behind, at once."""


class Runner(threading.Thread):
    """Delivers for one webhook until `stop` turns true. A slow receiver holds up nobody else's."""

    def __init__(
        self,
        webhook: Webhook,
        letters: Letters,
        bodies: Bodies,
        stop: Callable[[], bool],
        *,
        follower: Follower | None = None,
        first_wait_s: float = FIRST_WAIT_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """Nothing is read or sent before `start`. `follower` brings CAP messages, where these are sent.

        Raises:
            ConfigError: the secret or the file of authorities can't be used.
        """
        super().__init__(name=f"webhook-{webhook.name}", daemon=True)
        self._webhook, self._letters, self._bodies = webhook, letters, bodies
        self._liveness = Liveness()
        # Not `_stop`: threads have one of their own, without which they never count as ended.
        self._stops = self._liveness.watching(stop)
        self._first_wait_s, self._look_every_s = first_wait_s, look_every_s
        self._signer, self._poster = Signer(webhook.secret_file), Poster(webhook)
        self._follower, self._record_is_away = follower, False
        self._looked_at_s = float("-inf")
        self._tells_disabled = True
        self._log = log.bind(webhook=webhook.name)

    def run(self) -> None:
        """See above."""
        with asyncio.Runner() as loop:
            try:
                while not self._stops():
                    self._round(loop)
            finally:
                loop.run(self._poster.close())

    def silent_s(self) -> float:
        """Seconds since it last asked whether to stop, which it does all the time unless it hangs."""
        return self._liveness.silent_s()

    def _round(self, loop: asyncio.Runner) -> None:
        try:
            letters = patiently(self._next, stop=self._stops)
            if letters:
                loop.run(self._deliver(letters))
        except BrokerAwayError:
            return  # the service stops
        except Exception:  # the edge of the loop: what it is about stays pending, and is found again
            self._log.exception("a webhook failed, and goes on")
            self._pause()

    def _next(self) -> list[Letter]:
        if self._letters.is_disabled():
            if self._tells_disabled:
                self._log.error(
                    "webhook disabled, its receiver said 410 Gone",
                    remedy=f"`almenara webhooks --replay {self._webhook.name}` begins again",
                )
            self._tells_disabled = False
            self._pause()
            return []
        self._tells_disabled = True
        if time.monotonic() - self._looked_at_s >= self._look_every_s:
            self._letters.prepare()
            self._leave()
            if left := list(islice(self._letters.abandoned(), _LEFT)):
                return left  # and look again at once: there may be more
            self._looked_at_s = time.monotonic()
        more = self._follow()
        due = self._letters.due(CONNECTIONS)
        # What is new goes first into the same handful: old trouble must not hold up a new emergency.
        try:
            return [*self._letters.fresh(CONNECTIONS, None if due or more else BLOCK_MS), *due]
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._letters.prepare()  # the broker lost it, or somebody removed it
            return due

    def _follow(self) -> bool:
        """Whether more can be read at once."""
        more = False

        def follow() -> None:
            nonlocal more
            more = self._follower is not None and self._follower.follow()

        self._with_record(follow)
        return more

    def _leave(self) -> None:
        if self._follower is not None:
            self._with_record(self._follower.leave)

    def _with_record(self, work: Callable[[], None]) -> None:
        try:
            work()
        except SQLAlchemyError as error:  # what waits in the broker is tried meanwhile
            if not self._record_is_away:
                self._log.warning("the desk's record is away: CAP messages wait in it", error=said(error))
            self._record_is_away = True
        else:
            if self._record_is_away:
                self._log.info("the desk's record is back")
            self._record_is_away = False

    async def _deliver(self, letters: Sequence[Letter]) -> None:
        width = asyncio.Semaphore(CONNECTIONS)
        tasks = [asyncio.create_task(self._try(letter, width)) for letter in letters]
        leave_at_s = float("inf")
        while tasks:
            _, pending = await asyncio.wait(tasks, timeout=0.2)
            if not pending:
                break
            if self._stops():
                leave_at_s = min(leave_at_s, time.monotonic() + LEAVE_S)
            if time.monotonic() >= leave_at_s:
                for task in pending:
                    task.cancel()
        faults = [each for each in await asyncio.gather(*tasks, return_exceptions=True) if each]
        for fault in faults:
            if not isinstance(fault, asyncio.CancelledError | BrokerAwayError):
                raise fault

    async def _try(self, letter: Letter, width: asyncio.Semaphore) -> None:
        try:
            async with width:
                answer = await self._post(letter)
        except asyncio.CancelledError:
            # Told on the way out: after the next start it goes at once, and not after a minute.
            await asyncio.shield(asyncio.to_thread(self._settle, letter, Answer(reason="stopped")))
            raise
        await asyncio.to_thread(self._settle, letter, answer)

    async def _post(self, letter: Letter) -> Answer:
        try:
            body = await asyncio.to_thread(self._bodies.of, letter.event, self._webhook.form)
        except NoAlertError:
            return Answer(reason="not_in_the_record", final=True)
        except (PermanentError, UnicodeDecodeError):
            return Answer(reason="bad_dispatch", final=True)
        except SQLAlchemyError:
            return Answer(reason="record_away")
        except Exception:  # it counts as a try, lest one letter be tried for ever
            self._log.exception("a dispatch can't be made into what this webhook is sent")
            return Answer(reason="fault")
        headers = self._signer.headers(body.message_id, body.text, utc_now())
        with WEBHOOK_SECONDS.time():
            return await self._poster.post(body.text.encode(), {"Content-Type": body.media_type, **headers})

    def _settle(self, letter: Letter, answer: Answer) -> None:
        """Write down what became of a try. Waits for the broker; a stop leaves the letter where it is."""
        fate = fate_of(answer, letter.tries)
        try:
            patiently(lambda: self._write(letter, answer, fate), stop=self._stops)
        except RedisError as error:
            self._log.error("what became of a dispatch can't be written", error=str(error))
        WEBHOOK_DELIVERIES.labels(letter.department, _counted(fate)).inc()
        about = {"incident": letter.incident, "department": letter.department, "tries": letter.tries}
        if fate is Fate.DELIVERED:
            self._log.info("delivered", **about)
        elif fate is Fate.LATER:
            self._log.warning("not delivered, tried again", why=answer.word, **about)
        else:
            self._log.error(
                "not delivered, given up",
                why=answer.word,
                remedy=f"`almenara webhooks --dead` lists, `--replay {self._webhook.name}` puts back",
                **about,
            )

    def _write(self, letter: Letter, answer: Answer, fate: Fate) -> None:
        match fate:
            case Fate.DELIVERED:
                self._letters.done(letter)
            case Fate.LATER if answer.reason == "stopped":
                self._letters.postpone(letter, 0.0)
            case Fate.LATER:
                waits_s = wait_s(answer, letter.tries, first_s=self._first_wait_s)
                self._letters.postpone(letter, waits_s)
            case Fate.GONE:
                self._letters.disable(answer.word)
                self._letters.give_up(letter, answer.word)
            case Fate.DEAD:
                self._letters.give_up(letter, answer.word)

    def _pause(self) -> None:
        until_s = time.monotonic() + PAUSE_S
        while time.monotonic() < until_s and not self._stops():
            time.sleep(0.1)


def _counted(fate: Fate) -> str:
    return (Fate.DEAD if fate is Fate.GONE else fate).value
