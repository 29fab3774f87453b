"""Inquiries: a question that may take long, asked in a thread of its own, for whom nobody waits too long."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Inquiry(Generic[T]):
    """One question. Who asks while it is being answered gets that answer: it is never asked twice at once."""

    def __init__(self, question: Callable[[], T], patience_s: float) -> None:
        """Whoever asks waits at most `patience_s`."""
        self._question = question
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._asked: Future[T] | None = None

    def ask(self) -> T:
        """The answer.

        Raises:
            TimeoutError: there is none yet.
            Exception: whatever the question raised.
        """
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                # A daemon: a broker that does not answer must not hold up the end of a process.
                threading.Thread(
                    target=self._answer, args=(self._asked,), name="inquiry", daemon=True
                ).start()
            asked = self._asked
        return asked.result(timeout=self._patience_s)

    def _answer(self, asked: "Future[T]") -> None:
        try:
            asked.set_result(self._question())
        except Exception as error:
            asked.set_exception(error)
