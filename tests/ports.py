"""A port for a server that can't be asked which one it took."""

import socket
from typing import Self


class ReservedPort:
    """A free port of 127.0.0.1 that nobody else is given while this is held.

    A socket is bound to it and does not listen: the system gives the port to no other who asks for any, and a
    server that asks for this one with SO_REUSEADDR, as nearly all do, gets it. Until then whoever connects is
    refused.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let it go."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
