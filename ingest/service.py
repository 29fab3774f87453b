"""The ingest service: inbox folders in, incidents in the queue out."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog
from redis.exceptions import RedisError

from ingest.admission import admit
from ingest.cameras import Cameras
from ingest.claiming import Claimer
from ingest.claims import Claim, Claims
from ingest.intake import Intake, StillWritten
from ingest.pictures import Picture
from ingest.rates import Rates
from ingest.recent import Recent
from ingest.rejects import Rejects
from ingest.retention import prune
from ingest.signatures import SlowPictureError
from ingest.tallies import count_admitted, count_rejected
from ingest.watching import Watch
from shared import metrics
from shared.broker import Broker, BrokerAwayError, patiently
from shared.cores import usable_cores
from shared.durable import Aside
from shared.errors import ConfigError, PermanentError, TransientError
from shared.heartbeats import BEAT_S, INGEST, SILENT_AFTER_S, beat, process_name
from shared.images import ImageStore, StoreAwayError
from shared.incidents import Photograph, utc_now
from shared.keys import COUNTS, INGESTER_PREFIX
from shared.refusals import refusal
from shared.settings import Settings

log = structlog.get_logger()

BATCH = 256
"""Photographs stored and admitted together, at most: two flushes of the disk and one broker round trip."""

CHUNK = 16
"""Claims examined together: so many the first of a flood may wait for."""

KEEPERS = 5
"""Threads of which one keeps a batch and the others remove its claims: a disk told at once which blocks are
free takes milliseconds a file, and several of them together."""

FAR_THREADS = 16
"""They examine, and store, where the image store is no folder: three requests of 50 ms a photograph, say."""

FAULTS_ALLOWED = 3
"""A file that makes our own code fail is set aside, with that reason, after this many tries."""
RETENTION_EVERY_S = 3600.0


@dataclass(frozen=True)
class _Batch:
    """Photographs that are kept together: their claims, and their files, which wait for their names."""

    aside: Aside
    photographs: list[tuple[Claim, Photograph]] = field(default_factory=list)


class IngestService:
    """Claims files in one thread, examines them in several, keeps and admits them in one more."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        store: ImageStore,
        check: Callable[[bytes], Picture],
        check_slowly: Callable[[bytes], Picture] | None = None,
    ) -> None:
        """Open the inboxes, making those that are missing.

        Args:
            settings: of the deployment.
            broker: to admit to.
            store: to keep pictures in.
            check: says what a picture is, as `ingest.checks.Checks.check_quickly`.
            check_slowly: likewise where that says SlowPictureError, as `ingest.checks.Checks.check`.

        Raises:
            ConfigError: an inbox can't be used.
        """
        self._settings = settings
        self._broker = broker
        self._store = store
        self._intake = Intake(settings, store, check, check_slowly or check)
        self._slow = ThreadPoolExecutor(1, "examine-slow")
        """One thread, and so one process at a time: however many take long, others are examined meanwhile."""
        self._rejects = Rejects(settings.rejected_dir)
        self._instance = process_name()
        self._cameras = Cameras(broker, settings.silence_s)
        self._recent = Recent(broker)
        self._stopping = threading.Event()
        # Those that wait for a network need no core.
        self._threads = max(2, min(8, usable_cores())) if store.is_local else FAR_THREADS
        self._outcomes: Counter[str] = Counter()
        self._store_away = False
        self._faults: Counter[str] = Counter()
        self._most = BATCH
        self._beat_at_s = 0.0
        self._pruned_at_s = time.monotonic()
        inboxes = tuple(inbox.resolve() for inbox in settings.inbox)
        claims = []
        for inbox in inboxes:
            try:
                inbox.mkdir(parents=True, exist_ok=True)
                claims.append(Claims(inbox, self._instance))
            except OSError as error:
                raise ConfigError(
                    f"inbox {inbox} can't be used: {error.strerror}",
                    remedy="let the ingester's user write to it, or set ALMENARA_INBOX to another folder",
                ) from error
        watch = Watch(inboxes, recursive=settings.recursive, polling=settings.observer == "polling")
        self._rates = Rates(settings.label_rate)
        self._claimer = Claimer(
            watch, claims, self._rates, settle_s=settings.settle_s, rescan_s=settings.rescan_s
        )
        self._claims = {each.inbox: each for each in claims}

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until `stop` turns true. What is claimed by then and not admitted is adopted next time."""
        self._claimer.start()
        log.info("ingester ready", inboxes=[str(inbox) for inbox in self._claims], instance=self._instance)
        try:
            with (
                ThreadPoolExecutor(self._threads, "examine") as pool,
                ThreadPoolExecutor(KEEPERS, "keep") as keepers,
            ):
                self._work(pool, keepers, stop)
        except BrokerAwayError:
            log.info("stopping; claimed files wait for the next ingester", held=sum(self._held()))
        finally:
            self._slow.shutdown(cancel_futures=True)
            self._stopping.set()
            self._claimer.stop()
            for claims in self._claims.values():
                claims.close()
        log.info("ingester stopped", **self._outcomes)

    def _work(self, pool: ThreadPoolExecutor, keepers: ThreadPoolExecutor, stop: Callable[[], bool]) -> None:
        """Examine without a pause; what was examined while the last batch was kept is the next batch."""
        batch, keeping = _Batch(self._store.aside()), keepers.submit(lambda: None)
        try:
            while not stop():
                self._beat()
                if not batch.photographs and time.monotonic() - self._pruned_at_s >= RETENTION_EVERY_S:
                    keeping.result()  # a resend that is on its way must not lose its old picture
                    self._prune()
                if keeping.done():
                    keeping.result()
                    if batch.photographs:
                        keeping = keepers.submit(self._keep, batch, keepers, stop)
                        batch = _Batch(self._store.aside())
                if len(batch.photographs) >= self._most:
                    futures.wait([keeping], timeout=BEAT_S)
                elif claims := self._claimer.next_batch(
                    min(CHUNK, self._most), wait_s=_wait_s(batch, keeping)
                ):
                    self._examine(claims, batch, pool, stop)
            keeping.result()
        finally:
            batch.aside.discard()

    def _examine(
        self, claims: list[Claim], batch: "_Batch", pool: ThreadPoolExecutor, stop: Callable[[], bool]
    ) -> None:
        # A few parts, not single claims: handing one from thread to thread costs as much as reading its name.
        size = max(1, -(-len(claims) // self._threads))
        parts = [claims[begin : begin + size] for begin in range(0, len(claims), size)]
        tasks = [pool.submit(self._examined, part, batch.aside) for part in parts]
        # Pictures made to take long take their time one after another: it is no sign that we hang.
        while futures.wait(tasks, timeout=BEAT_S).not_done:
            self._beat()
            stop()
        for task in tasks:
            for claim, outcome in task.result():
                if isinstance(outcome, Photograph):
                    batch.photographs.append((claim, outcome))
                elif outcome is not None:
                    self._reject(claim, outcome)

    def _keep(self, batch: "_Batch", keepers: ThreadPoolExecutor, stop: Callable[[], bool]) -> None:
        began_s = time.monotonic()
        try:
            self._store.commit(batch.aside)
        except StoreAwayError as error:
            self._say_store_away(error)
            for claim, _ in batch.photographs:
                self._claimer.later(claim, 1.0)
            # Should the fault be one picture's, its mates are rid of it when they meet again in halves.
            self._most = max(1, len(batch.photographs) // 2)
            return
        metrics.INGEST_STORE.observe(time.monotonic() - began_s)
        self._store_away = False
        self._most = min(BATCH, 2 * self._most)
        # The claim goes only after the broker has answered; until then a crash leaves it to be adopted.
        photographs = [(claim.claim_id, photograph) for claim, photograph in batch.photographs]
        led = self._recent.led()
        admitted = patiently(lambda: admit(self._broker, photographs), stop=stop)
        # A resend is no photograph to lose: its first copy was noted by whoever admitted that.
        told = zip(photographs, admitted, strict=True)
        self._recent.note([photograph for photograph, outcome in told if outcome != "seen"], led)
        claims = [claim for claim, _ in batch.photographs]
        list(keepers.map(self._release, [claims[part :: KEEPERS - 1] for part in range(KEEPERS - 1)]))
        self._cameras.note(photograph.label for _, photograph in batch.photographs)
        self._outcomes.update(admitted)
        count_admitted(batch.photographs, admitted)
        log.info("photographs taken in", **Counter(admitted), waiting=self._claimer.backlog())

    def _release(self, claims: list[Claim]) -> None:
        for claim in claims:
            self._claims[claim.inbox].release(claim)

    def _examined(
        self, claims: list[Claim], aside: Aside
    ) -> list[tuple[Claim, Photograph | PermanentError | None]]:
        found = []
        for number, claim in enumerate(claims):
            try:
                found.append((claim, self._outcome(claim, aside)))
            except SlowPictureError:
                self._slow.submit(self._examine_slowly, claim)
                # What was found is kept without waiting for more that may be like it.
                for each in claims[number + 1 :]:
                    self._claimer.later(each, 0.0)
                break
        return found

    def _examine_slowly(self, claim: Claim) -> None:
        """Then it is examined again: that finds its check done, or says by itself what is wrong with it."""
        after_s = 0.0
        try:
            self._intake.examine_slowly(claim)
        except TransientError as error:
            log.warning("a picture can't be checked now", name=claim.name, error=str(error))
            after_s = 1.0
        except (PermanentError, StillWritten, OSError) as error:
            log.debug("a picture was not checked", name=claim.name, error=str(error))
        except Exception:
            log.exception("a picture could not be checked", name=claim.name)
            after_s = 1.0
        self._claimer.later(claim, after_s)

    def _outcome(self, claim: Claim, aside: Aside) -> Photograph | PermanentError | None:
        """The stored photograph, why it can never be one, or None where it must wait.

        Raises:
            SlowPictureError: it is to be checked beside the others.
        """
        try:
            return self._intake.examine(claim, aside)
        except StillWritten:
            self._claimer.later(claim, 0.1)
        except SlowPictureError:
            raise
        except PermanentError as error:
            return error
        except FileNotFoundError:
            # Taken out of our hands by a person; there is nothing left to lose.
            log.warning("a claimed file is gone", name=claim.name)
            self._claims[claim.inbox].release(claim)
        except TransientError as error:
            self._say_store_away(error)
            self._claimer.later(claim, 1.0)
        except OSError as error:
            log.warning("a file can't be read", name=claim.name, error=str(error))
            return self._after_fault(claim, error)
        # A fault of ours must cost this file some time, and no other file anything.
        except Exception as error:
            log.exception("a file could not be examined", name=claim.name, claim=claim.claim_id)
            return self._after_fault(claim, error)
        return None

    def _after_fault(self, claim: Claim, error: Exception) -> PermanentError | None:
        self._faults[claim.claim_id] += 1
        if self._faults[claim.claim_id] < FAULTS_ALLOWED:
            self._claimer.later(claim, 2.0)
            return None
        del self._faults[claim.claim_id]
        if isinstance(error, OSError):
            return PermanentError(
                f"{claim.name!r} can't be read: {error.strerror or error}",
                reason="not_readable",
                remedy="check the disk that the inbox is on, then try the file again",
            )
        return PermanentError(
            f"{claim.name!r} makes Almenara itself fail ({type(error).__name__}: {error})",
            reason="internal_error",
            remedy="please report it with the log; the file is kept and can be tried again",
        )

    def _reject(self, claim: Claim, error: PermanentError) -> None:
        try:
            reject = self._rejects.add(claim.path, claim.inbox, error)
        except OSError as fault:
            log.error("a bad file can't be set aside, trying again", name=claim.name, error=str(fault))
            self._claimer.later(claim, 5.0)
            return
        self._claims[claim.inbox].release(claim)
        self._outcomes["rejected"] += 1
        count_rejected(reject.reason)
        log.warning(
            "file rejected", name=reject.name, reason=reject.reason, detail=reject.detail, kept=reject.path
        )
        try:
            self._broker.hincrby(COUNTS, f"rejected:{reject.reason}", 1)
        except RedisError:
            log.debug("a rejection was not counted; the rejected folder has it")

    def _say_store_away(self, error: Exception) -> None:
        metrics.INGEST_STORE_FAULTS.inc()
        if not self._store_away:
            log.error("photographs can't be stored, trying again", error=str(error))
        self._store_away = True

    def held_back(self) -> dict[str, int]:
        """Files that wait for the rate of their label, of those labels with the most."""
        return self._rates.held_back()

    def _held(self) -> list[int]:
        return [claims.held() for claims in self._claims.values()]

    def _beat(self) -> None:
        """Now and then say that this ingester lives."""
        metrics.INGEST_WAITING.set(self._claimer.backlog())
        self._cameras.begin()
        now_s = time.monotonic()
        if now_s - self._beat_at_s >= BEAT_S:
            self._beat_at_s = now_s
            about = {
                "instance": self._instance,
                "inboxes": [str(inbox) for inbox in self._claims],
                "held": sum(self._held()),
                "held_back": self.held_back(),
                "store_away": self._store_away,
                **self._outcomes,
            }
            try:
                self._broker.set(INGESTER_PREFIX + self._instance, json.dumps(about), ex=int(SILENT_AFTER_S))
                beat(self._broker, INGEST, self._instance)
            except RedisError as error:
                if refused := refusal(error):
                    raise refused from error  # not only once a photograph comes
                log.debug("broker away at a heartbeat")
                return
            self._recent.tell_again()

    def _prune(self) -> None:
        """Remove what is too old."""
        self._pruned_at_s = time.monotonic()
        try:
            prune(self._broker, self._store, self._settings.retention_days, utc_now())
        except (RedisError, TransientError) as error:
            log.warning("old pictures could not be removed, trying again in an hour", error=str(error))


def _wait_s(batch: _Batch, keeping: futures.Future[None]) -> float:
    """How long to wait for more: not at all where what there is can be kept at once."""
    if not batch.photographs:
        return 0.2
    return 0.0 if keeping.done() else 0.02
