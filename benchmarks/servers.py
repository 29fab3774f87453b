"""The peers that take pictures over HTTP, fed by an asynchronous client in this process."""

import asyncio
import base64
import socket
import sys
import time
from typing import Any

from benchmarks.contenders import START_S, Contender, ContenderError, Ground, due_times_s
from benchmarks.peers import BATCH

IN_FLIGHT = 4 * BATCH
TIMEOUT_S = 120.0


class Server(Contender):
    """An HTTP server. Flooded, the client, whose CPU is not counted, keeps four batches in flight."""

    def __init__(self, name: str, module: str, about: str, path: str, *, as_json: bool) -> None:
        super().__init__(name, "torch-cpu", about)
        self._module = module
        self._path = path
        self._as_json = as_json
        self._sent = 0

    def start(self, ground: Ground) -> None:
        """See `Contender.start`."""
        try:
            import httpx
        except ImportError as error:
            raise ContenderError(f"not installed: {error}") from error
        self._httpx = httpx
        self._ground = ground
        port = _free_port()
        self._url = f"http://127.0.0.1:{port}{self._path}"
        self._run([sys.executable, "-m", f"benchmarks.peers.{self._module}", *self._options(port)], ground)
        asyncio.run(self._first())

    def flood(self, count: int) -> float:
        """See `Contender.flood`."""
        return asyncio.run(self._flood(count))

    def steady(self, count: int, rate: float) -> list[float]:
        """See `Contender.steady`: from the request sent to the response received."""
        return asyncio.run(self._steady(count, rate))

    def _options(self, port: int) -> list[str]:
        raise NotImplementedError

    def _client(self) -> Any:
        limits = self._httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        return self._httpx.AsyncClient(limits=limits, timeout=TIMEOUT_S, trust_env=False)

    async def _first(self) -> None:
        deadline_s = time.monotonic() + START_S
        async with self._client() as client:
            while True:
                try:
                    await self._ask(client)
                    return
                except (self._httpx.TransportError, ContenderError) as error:
                    self._check_alive()
                    if time.monotonic() > deadline_s:
                        raise ContenderError(f"no answer in {START_S:g} s: {error}") from error
                await asyncio.sleep(0.2)

    async def _flood(self, count: int) -> float:
        async with self._client() as client:
            began_s = time.perf_counter()
            left = iter(range(count))

            async def ask_on() -> None:
                for _ in left:
                    await self._ask(client)

            await asyncio.gather(*(ask_on() for _ in range(IN_FLIGHT)))
            return time.perf_counter() - began_s

    async def _steady(self, count: int, rate: float) -> list[float]:
        async with self._client() as client:

            async def ask_at(due_s: float) -> float:
                await asyncio.sleep(due_s - time.perf_counter())
                began_s = time.perf_counter()
                await self._ask(client)
                return (time.perf_counter() - began_s) * 1000

            return list(await asyncio.gather(*map(ask_at, due_times_s(count, rate))))

    async def _ask(self, client: Any) -> None:
        data = self._ground.album.picture(self._sent)
        self._sent += 1
        if self._as_json:
            response = await client.post(self._url, json={"image_data": base64.b64encode(data).decode()})
        else:
            response = await client.post(self._url, content=data)
        if response.status_code != 200 or "situation" not in response.json():
            raise ContenderError(f"answered {response.status_code}: {response.text[:200]}")


class LitServe(Server):
    """LitServe with dynamic batching."""

    def __init__(self) -> None:
        super().__init__(
            "LitServe",
            "litserve_server",
            "max_batch_size 16, batch_timeout 0.01 s, one worker; pictures are base64 in JSON (its guide)",
            "/predict",
            as_json=True,
        )

    def _options(self, port: int) -> list[str]:
        return [str(port)]


class Mosec(Server):
    """mosec with dynamic batching."""

    def __init__(self) -> None:
        super().__init__(
            "mosec",
            "mosec_server",
            "as many decoding processes as cores, one with the model: max_batch_size 16, max_wait_time 10 ms",
            "/inference",
            as_json=False,
        )

    def _options(self, port: int) -> list[str]:
        timeout_ms = str(int(TIMEOUT_S * 1000))
        return [
            "--address",
            "127.0.0.1",
            "--port",
            str(port),
            "--timeout",
            timeout_ms,
            "--log-level",
            "warning",
        ]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
