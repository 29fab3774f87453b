"""Several confined processes of one kind, for several threads that ask at once."""

import contextlib
import queue
from concurrent.futures import ThreadPoolExecutor

from shared.confinement import Confinement, ConfinementError
from shared.cores import usable_cores
from shared.errors import PermanentError


class ConfinementPool:
    """As many processes as requests may be answered at once. Safe to use from several threads."""

    def __init__(self, module: str, *arguments: str, answer_s: float, processes: int | None = None) -> None:
        """Nothing is started yet.

        Args:
            module: as for `Confinement`, as are the arguments and `answer_s`.
            arguments: its command line.
            answer_s: seconds that one request may take.
            processes: None for one a core, and two at least.
        """
        count = processes or max(2, usable_cores())
        self.members = [Confinement(module, *arguments, answer_s=answer_s) for _ in range(count)]
        # The one that was used last is taken first: the others are not started before they are needed.
        self._free: queue.LifoQueue[Confinement] = queue.LifoQueue()
        for each in self.members:
            self._free.put(each)

    def ask(self, request: bytes) -> bytes:
        """The answer of one of them; waits for one that is free.

        Raises:
            AlmenaraError: as `Confinement.ask`.
        """
        process = self._free.get()
        try:
            return process.ask(request)
        finally:
            self._free.put(process)

    def start(self, request: bytes) -> None:
        """Start all of them, with a request whose answer does not matter."""

        def started(process: Confinement) -> None:
            # A refusal still shows that it runs. One that does not start says so when it is needed.
            with contextlib.suppress(PermanentError, ConfinementError):
                process.ask(request)

        with ThreadPoolExecutor(len(self.members)) as pool:
            list(pool.map(started, self.members))

    def close(self) -> None:
        """End the processes, each after the request that it is at; another one would start them anew."""
        for each in self.members:
            each.close()
