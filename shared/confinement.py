"""Work on bytes that strangers wrote, in a process of its own: what kills it or makes it hang hurts it alone.

The process is started when it is first needed, serves one request after another over a socket, is given
up when it dies or takes too long, and ends by itself when nothing was asked for a while. No pickle crosses:
both ways go plain bytes, and errors as JSON, for a picture may have taken the process over.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from shared.errors import AlmenaraError, ConfigError, PermanentError, TransientError
from shared.labels import escape_label

_FOLDER = Path(__file__).resolve().parent.parent
_LENGTH = struct.Struct("!I")
_HEADER = struct.Struct("!cI")
_DONE, _REFUSED, _FAILED, _BROKEN = b"d", b"r", b"f", b"b"
_TRIES = 2
_OUT_OF_TIME = f"signal {signal.SIGPROF.value}"
_DYING_S = 5.0
"""A process closes its socket a moment before it has ended, a longer one on a busy machine; how counts."""
_WORDS_CHARACTERS = 500
_ERROR_BYTES = 20_000


class DecoderKilledError(PermanentError):
    """Raised when a request brings its process down, or takes it too long."""

    default_reason = "kills_decoder"


class TooLongError(DecoderKilledError):
    """Raised when a request takes its process too long."""


class ConfinementError(TransientError):
    """Raised when the process can't be had just now: it does not start, or others are before us."""

    default_reason = "no_process"


class Confinement:
    """A process that answers requests, as a module of ours that calls `serve` when it is run.

    Safe to use from several threads: one request is answered at a time, the others wait.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        answer_s: float,
        wait_s: float = 30.0,
        start_s: float = 60.0,
        max_answer_bytes: int = 64 * 2**20,
    ) -> None:
        """Nothing is started yet.

        Args:
            module: dotted name of what is run.
            arguments: its command line.
            answer_s: seconds that one request may take; then its process is killed.
            wait_s: seconds that a request may wait for those before it.
            start_s: seconds that the process may take to be ready.
            max_answer_bytes: a longer answer counts as none.
        """
        # From the folder of our packages: -m would import from the current one, which may be anybody's.
        self._command = [sys.executable, "-m", module, *arguments]
        self._answer_s, self._wait_s, self._start_s = answer_s, wait_s, start_s
        self._max_answer_bytes = max_answer_bytes
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> bytes:
        """The process's answer.

        A process that dies of a request is asked once more, anew: somebody else may have killed it. One
        that takes too long is not.

        Raises:
            PermanentError: what the process refused, with its reason.
            DecoderKilledError: the request ends it; TooLongError: it occupies it.
            ConfinementError: it does not start, or others took their time before us.
            ConfigError: it can't start until a person does something.
        """
        if not self._turn.acquire(timeout=self._wait_s):
            raise ConfinementError("other pictures are being looked at", reason="busy", remedy="try again")
        try:
            for tries_left in reversed(range(_TRIES)):
                channel = self._started()
                try:
                    return self._exchange(channel, request)
                except TimeoutError as error:
                    self._end(dying_s=0.0)
                    raise TooLongError(f"looking at it takes more than {self._answer_s:g} s") from error
                except (OSError, EOFError, ValueError) as error:
                    how = self._end(dying_s=0.0 if isinstance(error, ValueError) else _DYING_S)
                    if how == _OUT_OF_TIME:
                        raise TooLongError("looking at it takes too much of a core's time") from error
                    if not tries_left:
                        words = str(error) if isinstance(error, ValueError) else how
                        raise DecoderKilledError(f"looking at it ends the process ({words})") from error
        finally:
            self._turn.release()
        raise AssertionError  # the last try returned or raised

    def close(self) -> None:
        """End the process, after the request that it is at; the next one would start it anew."""
        with self._turn:
            self._end(dying_s=0.0)

    def _started(self) -> socket.socket:
        if self._socket is not None and self._process is not None and self._process.poll() is None:
            return self._socket
        self._end(dying_s=0.0)  # what is left of one that ended by itself
        ours, theirs = socket.socketpair()
        self._socket = ours
        try:
            with theirs:
                self._process = subprocess.Popen(
                    self._command,
                    cwd=_FOLDER,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C at our terminal is for us
                )
            self._answer(ours, time.monotonic() + self._start_s)
        except (OSError, EOFError, ValueError) as error:
            how = self._end(dying_s=0.0 if isinstance(error, TimeoutError) else _DYING_S)
            raise ConfinementError(
                f"a process to look at pictures does not start ({how})", remedy="it is tried again"
            ) from error
        except AlmenaraError:
            self._end(dying_s=0.0)
            raise
        return ours

    def _exchange(self, channel: socket.socket, request: bytes) -> bytes:
        deadline_s = time.monotonic() + self._answer_s
        channel.settimeout(self._answer_s)
        channel.sendall(_LENGTH.pack(len(request)) + request)
        return self._answer(channel, deadline_s)

    def _answer(self, channel: socket.socket, deadline_s: float) -> bytes:
        kind, length = _HEADER.unpack(_received(channel, _HEADER.size, deadline_s))
        if length > self._max_answer_bytes:
            raise ValueError(f"an answer of {length} bytes")
        content = _received(channel, length, deadline_s)
        if kind == _DONE:
            return bytes(content)
        raise _error(kind, content)

    def _end(self, *, dying_s: float) -> str:
        """Kill the process, if there is one; how it had ended, in words: it has so long to end by itself."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is None:
            return "not started"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(dying_s)
        code = self._process.poll()
        if code is None:
            self._process.kill()
            self._process.wait()
        self._process = None
        return "it was killed" if code is None else f"signal {-code}" if code < 0 else f"exit status {code}"


def serve(
    answer: Callable[[bytes], bytes],
    *,
    memory_bytes: int | None,
    answer_s: float,
    cpu_s: float = 0.0,
    idle_s: float = 300.0,
) -> None:
    """Answer the requests of the `Confinement` that started this process, until it closes or asks no more.

    Args:
        answer: gives the answer to a request, or raises PermanentError; anything else that it raises ends
            the process.
        memory_bytes: address space that the process may take; None for any.
        answer_s: seconds after which a request ends the process, where nobody is left who minds it.
        cpu_s: seconds of a core that a request may take before it ends the process, however long that is by
            the clock; 0 for any.
        idle_s: seconds without a request after which the process ends, and its memory is free.
    """
    channel = _channel()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    if memory_bytes is not None:
        _limit(resource.RLIMIT_AS, memory_bytes)
    _send(channel, _DONE, b"")
    while True:
        try:
            (length,) = _LENGTH.unpack(_received(channel, _LENGTH.size, time.monotonic() + idle_s))
            request = bytes(_received(channel, length, None))
        except (EOFError, OSError):
            return
        signal.setitimer(signal.ITIMER_REAL, answer_s)
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        try:
            kind, content = _DONE, answer(request)
        except PermanentError as error:
            kind, content = _REFUSED, _encoded(error)
        except Exception as error:  # the edge of the process: it ends, and says of what
            _send(channel, _BROKEN, repr(error)[:_WORDS_CHARACTERS].encode())
            raise
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        del request
        _send(channel, kind, content)


def cant_start(error: AlmenaraError) -> None:
    """In place of `serve`: say why this process can't answer anything."""
    _send(_channel(), _FAILED, _encoded(error))


def _channel() -> socket.socket:
    # Standard input is the socket. Under another number, and nothing that reads or prints can get at it.
    channel = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    return channel


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (lowered, lowered))


def _send(channel: socket.socket, kind: bytes, content: bytes) -> None:
    channel.settimeout(None)
    channel.sendall(_HEADER.pack(kind, len(content)) + content)


def _received(channel: socket.socket, length: int, deadline_s: float | None) -> bytearray:
    """So many bytes, by then.

    Raises:
        EOFError: the other side closed before that.
        TimeoutError: it took longer.
    """
    content = bytearray(length)
    view, have = memoryview(content), 0
    while have < length:
        if deadline_s is not None:
            channel.settimeout(max(deadline_s - time.monotonic(), 0.001))
        count = channel.recv_into(view[have:])
        if not count:
            raise EOFError
        have += count
    return content


def _encoded(error: AlmenaraError) -> bytes:
    words = {"reason": error.reason, "detail": error.detail, "remedy": error.remedy}
    return json.dumps({word: text[:_WORDS_CHARACTERS] for word, text in words.items()}).encode()


def _error(kind: bytes, content: bytes | bytearray) -> AlmenaraError:
    """Raises ValueError for what is no error of ours."""
    if len(content) > _ERROR_BYTES or kind not in (_REFUSED, _FAILED, _BROKEN):
        raise ValueError("an answer of another kind")
    if kind == _BROKEN:
        raise ValueError(escape_label(content.decode(errors="replace")))
    try:
        record = json.loads(content)
    except RecursionError as error:
        raise ValueError("an error of another kind") from error
    if not isinstance(record, dict):
        raise ValueError("an error of another kind")
    reason, detail, remedy = (
        escape_label(str(record.get(word, ""))[:_WORDS_CHARACTERS]) for word in ("reason", "detail", "remedy")
    )
    made = PermanentError if kind == _REFUSED else ConfigError
    return made(detail, reason=reason, remedy=remedy)
