"""A process for tests of confinement: does what a request says, well or badly."""

import contextlib
import mmap
import os
import signal
import stat
import sys
import time
from pathlib import Path

from shared.confinement import cant_start, serve
from shared.errors import ConfigError, PermanentError


def sockets() -> list[int]:
    """Descriptors of this process's sockets."""
    found = []
    for descriptor in range(3, 20):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found.append(descriptor)
    return found


def answer(request: bytes) -> bytes:
    """The request's first word is what to do, the rest is what with."""
    word, _, rest = request.partition(b" ")
    if word == b"echo":
        return rest
    if word == b"pid":
        return str(os.getpid()).encode()
    if word == b"print":
        print(rest.decode(), flush=True)
        return sys.stdin.read().encode()
    if word == b"refuse":
        raise PermanentError(rest.decode(), reason="not_today", remedy="come back")
    if word == b"raise":
        raise ZeroDivisionError
    if word == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == b"crash-once":
        flag = Path(rest.decode())
        if not flag.exists():
            os.mkfifo(flag)  # as files can't be written here
            os.kill(os.getpid(), signal.SIGKILL)
        return b"the second time"
    if word == b"hang":
        signal.pause()
    if word == b"garble":
        os.write(sockets()[0], rest)
        os._exit(0)
    if word == b"end-slowly":
        for descriptor in sockets():
            os.close(descriptor)
        time.sleep(0.5)  # as on a busy machine, where a process is stopped between its last steps
        os.kill(os.getpid(), signal.SIGPROF)
    if word == b"eat":
        return str(len(mmap.mmap(-1, int(rest)))).encode()
    if word == b"spin":
        while True:
            pass
    if word == b"write":
        Path(rest.decode()).write_bytes(b"x")
    return b""


if __name__ == "__main__":
    if sys.argv[1:] == ["refuses"]:
        cant_start(ConfigError("no model", reason="no_model", remedy="make one"))
    elif sys.argv[1:] == ["dies"]:
        sys.exit(3)
    elif sys.argv[1:] == ["babbles"]:
        os.write(0, b"hello, this is no answer")
    elif sys.argv[1:] == ["bored"]:
        serve(answer, memory_bytes=None, answer_s=60, idle_s=2)
    elif sys.argv[1:] == ["hasty"]:
        serve(answer, memory_bytes=2**30, answer_s=3)
    else:
        serve(answer, memory_bytes=2**30, answer_s=60)
