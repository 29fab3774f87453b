"""A proxy between one service and the broker that cuts the connection in the middle of a command."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

POP = "BLMOVE"
"""How a worker waits for the next photograph."""


class Side(StrEnum):
    """Where in a command the connection breaks."""

    BEFORE = "before"
    """The broker never gets the command."""
    AFTER = "after"
    """The broker gets it and does it, and no answer comes back."""
    REPLY = "reply"
    """The answer breaks off in the middle."""


class Requests:
    """Splits what a client sends into commands (RESP: ``*2\\r\\n$4\\r\\nXLEN\\r\\n$1\\r\\na\\r\\n``)."""

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Each command that is whole now."""
        self._waiting += received
        while (length := _length(self._waiting)) is not None:
            command, self._waiting = self._waiting[:length], self._waiting[length:]
            yield command


def _word(command: bytes) -> str:
    words = command.split(b"\r\n", 3)
    return (words[2] if len(words) > 2 else command).decode("ascii", "replace").upper()


def _length(text: bytes) -> int | None:
    """Bytes of the first command; None while it is not whole."""
    line = text.find(b"\r\n")
    if line < 0:
        return None
    at = line + 2
    if not text.startswith(b"*"):
        return at
    for _ in range(int(text[1:line])):
        line = text.find(b"\r\n", at)
        if line < 0:
            return None
        at = line + 2 + int(text[at + 1 : line]) + 2
    return at if at <= len(text) else None


@dataclass
class _Break:
    """How one connection is to break.

    Attributes:
        at_answer: None until a command is cut: the next answer is cut too, before it or in its middle.
        popping: the same, for the first answer that is something popped.
    """

    at_answer: Side | None = None
    popping: Side | None = None


class Proxy:
    """Listens on a TCP port of this machine for one service.

    Attributes:
        port: where.
        cuts: connections cut so far, by the name of the command that was in hand.
    """

    def __init__(self, line: "Line", broker_socket: Path) -> None:
        self.port = 0
        self.cuts: Counter[str] = Counter()
        self._broker_socket = broker_socket
        self._lock = threading.Lock()
        self._left: int | None = None
        self._side = Side.BEFORE
        self._pop: Side | None = None
        self._flowing = asyncio.Event()
        self._line = line
        line.call(self._listen())

    def cut_at(self, number: int, side: Side) -> None:
        """Cut at the `number`-th command from now; 1 is the next one."""
        with self._lock:
            self._left, self._side = number, side

    def cut_pop(self, side: Side) -> None:
        """Cut at the next blocking pop; after it or in its answer, at the next that takes something."""
        with self._lock:
            self._pop = side

    def disarm(self) -> bool:
        """Cut nothing any more; whether a cut was still to come."""
        with self._lock:
            to_come = self._left is not None or self._pop is not None
            self._left = self._pop = None
        return to_come

    def stall(self, stalled: bool) -> None:
        """Let no byte pass, or go on."""
        self._line.soon(self._flowing.clear if stalled else self._flowing.set)

    async def _listen(self) -> None:
        self._flowing.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._line.servers.append(server)
        self.port = server.sockets[0].getsockname()[1]

    def _due(self, command: bytes, breaking: _Break) -> Side | None:
        """How to cut at this command, if so."""
        word = _word(command)
        with self._lock:
            if word == POP:
                breaking.popping = self._pop
                if self._pop is Side.BEFORE:
                    self._pop = None
                    self.cuts[word] += 1
                    return Side.BEFORE
            if self._left is None:
                return None
            self._left -= 1
            if self._left > 0:
                return None
            self._left = None
            self.cuts[word] += 1
            return self._side

    def _popped(self, answer: bytes, breaking: _Break) -> Side | None:
        """How to cut this answer of a pop, if so: only once something was taken."""
        side, breaking.popping = breaking.popping, None
        if side is None or not answer.startswith(b"$") or answer.startswith(b"$-1"):
            return None
        with self._lock:
            if self._pop is None:
                return None
            self._pop = None
            self.cuts[POP] += 1
            return side

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        try:
            broker_in, broker_out = await asyncio.open_unix_connection(str(self._broker_socket))
        except OSError:  # the broker is away, and so is this port
            client_out.transport.abort()
            return
        breaking = _Break()
        there = asyncio.create_task(self._ask(client_in, broker_out, breaking))
        back = asyncio.create_task(self._answer(broker_in, client_out, breaking))
        with contextlib.suppress(asyncio.CancelledError):  # asyncio complains of a server's task that is
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            if there.done() and breaking.at_answer is not None:
                await asyncio.wait({back}, timeout=10)
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
        broker_out.close()  # after what it still has to send
        client_out.transport.abort()

    async def _ask(
        self, client_in: asyncio.StreamReader, broker_out: asyncio.StreamWriter, breaking: _Break
    ) -> None:
        requests = Requests()
        while received := await client_in.read(1 << 16):
            await self._flowing.wait()
            for command in requests.feed(received):
                side = self._due(command, breaking)
                if side is Side.BEFORE:
                    return
                breaking.at_answer = side
                broker_out.write(command)
                if side is not None:
                    await broker_out.drain()
                    return
            await broker_out.drain()

    async def _answer(
        self, broker_in: asyncio.StreamReader, client_out: asyncio.StreamWriter, breaking: _Break
    ) -> None:
        while received := await broker_in.read(1 << 16):
            await self._flowing.wait()
            side = breaking.at_answer or self._popped(received, breaking)
            if side is Side.AFTER:
                return
            if side is Side.REPLY:
                client_out.write(received[: len(received) // 2])
                await client_out.drain()
                return
            client_out.write(received)
            await client_out.drain()


class Line:
    """The thread that all proxies run in.

    Attributes:
        servers: what listens in it.
    """

    def __init__(self) -> None:
        self.servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def call(self, work: "asyncio.Future[None] | object") -> None:
        """Run a coroutine to its end."""
        assert asyncio.iscoroutine(work)
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def soon(self, work: "object") -> None:
        """Call a function in the thread."""
        assert callable(work)
        self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        """End every connection."""

        async def end() -> None:
            for server in self.servers:
                server.close()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
