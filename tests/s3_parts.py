"""A real S3 server in a process of its own, and one that accepts connections and says nothing."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
from conftest import wait_until
from ports import ReservedPort

BUCKET = "photographs"


class S3Server:
    """moto's server.

    Attributes:
        environ: what its clients need.
    """

    def __init__(self, **environ: str) -> None:
        """Start it; `environ` is moto's own."""
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self.environ = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            env={**os.environ, **environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._listens, within_s=60, what="the S3 server listens")

    def make_bucket(self, name: str = BUCKET) -> None:
        """Make a bucket."""
        self.client().call_s3("create_bucket", Bucket=name)

    def client(self) -> fsspec.AbstractFileSystem:
        """A plain client, with nothing cached."""
        return fsspec.filesystem(
            "s3",
            key=self.environ["AWS_ACCESS_KEY_ID"],
            secret=self.environ["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=self.environ["AWS_ENDPOINT_URL"],
            client_kwargs={"region_name": "us-east-1"},
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def end(self) -> None:
        """Kill it, stopped or not."""
        self.process.kill()
        self.process.wait(timeout=60)
        self._reserved.release()

    def _listens(self) -> bool:
        assert self.process.poll() is None, "moto's server ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


@contextmanager
def silent_server(*, trickle: bool = False) -> Iterator[str]:
    """An address that accepts connections and never answers, or sends an answer a byte at a time."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    held: list[socket.socket] = []

    def trickled(connection: socket.socket) -> None:
        try:
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n"
            )
            while not stop.wait(0.05):
                connection.sendall(b"x")
        except OSError:
            return

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            held.append(connection)
            if trickle:
                threading.Thread(target=trickled, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join()
        for each in (*held, listener):
            each.close()
