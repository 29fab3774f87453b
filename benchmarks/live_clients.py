"""Browsers, as many as asked for, on the web console's event stream: when each row came to each.

`python -m benchmarks.live_clients PORT COUNT COOKIE...` says `ready` once all have everything open, reads
until its standard input ends, and writes a line of JSON for each: {case: monotonic seconds}. That clock is
one for all processes of a machine.
"""

import asyncio
import json
import sys
import time

LIMIT_BYTES = 16 * 1024 * 1024
"""Of one line of a stream: everything open is one."""


class Browser:
    """One event stream.

    Attributes:
        came_s: case -> when its first row came, monotonic seconds.
        opened: set once everything open has come.
    """

    def __init__(self) -> None:
        self.came_s: dict[str, float] = {}
        self.opened = asyncio.Event()

    async def read(self, port: int, cookie: str) -> None:
        """Follow until it is cancelled or the server ends it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LIMIT_BYTES)
        writer.write(f"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode())
        kind = b""
        while line := await reader.readline():
            if line.startswith(b"event: "):
                kind = line[7:].strip()
            elif line.startswith(b"data: "):
                now_s = time.monotonic()
                if kind == b"row":
                    # A row's own id comes before those of its incidents; the whole of it need not be parsed.
                    case = line.partition(b'"case":"')[2][:32].decode()
                    self.came_s.setdefault(case, now_s)
                elif kind == b"open":
                    self.opened.set()
        writer.close()


async def main(port: int, count: int, cookies: list[str]) -> None:
    """See above."""
    browsers = [Browser() for _ in range(count)]
    reading = [
        asyncio.create_task(each.read(port, cookies[index % len(cookies)]))
        for index, each in enumerate(browsers)
    ]
    await asyncio.gather(*(each.opened.wait() for each in browsers))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in reading:
        task.cancel()
    for each in browsers:
        print(json.dumps(each.came_s))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
