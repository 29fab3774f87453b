"""The stages of a worker: fetching, the model, publishing. While one has a batch, the next is behind it."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from shared.cores import usable_cores

T = TypeVar("T")

FAR_FETCHERS = 16
"""At 50 ms a picture, which is usual for S3, they fetch 320 a second."""


class Stages:
    """The threads behind the caller's, and the batches on their way through them, in order.

    Attributes:
        fetchers: as many threads as there are cores, or more, for the caller to fetch and decode in.
    """

    def __init__(self, *, far: bool = False) -> None:
        """Start no thread yet; `far` says that pictures come over a network, which more threads wait for."""
        fetchers = max(2, usable_cores()) if not far else max(FAR_FETCHERS, usable_cores())
        self.fetchers = ThreadPoolExecutor(fetchers, thread_name_prefix="fetch")
        self._model = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._publisher = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._on_the_way: deque[Future[None]] = deque()

    @property
    def busy(self) -> bool:
        """Whether a batch is on its way."""
        return bool(self._on_the_way)

    def warm(self, warm_up: Callable[[], T]) -> T:
        """Do `warm_up` in the model's thread: some of what it warms is a thread's own."""
        return self._model.submit(warm_up).result()

    def send(self, judge: Callable[[], T], publish: Callable[[T], None]) -> None:
        """Send a batch on its way: `judge` it, and hand what comes of it to `publish`; returns at once."""
        judged = self._model.submit(judge)
        self._on_the_way.append(self._publisher.submit(lambda: publish(judged.result())))

    def settle(self, leave: int) -> None:
        """Wait until no more than `leave` batches are on their way.

        Raises:
            Exception: whatever went wrong with a batch that is through.
        """
        while self._on_the_way and (len(self._on_the_way) > leave or self._on_the_way[0].done()):
            self._on_the_way.popleft().result()

    def close(self) -> None:
        """Begin nothing new; what runs is not waited for."""
        for threads in (self.fetchers, self._model, self._publisher):
            threads.shutdown(wait=False, cancel_futures=True)
