"""Confinement: what happens in the process of its own stays there."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from conftest import wait_until

from shared.confinement import Confinement, ConfinementError, DecoderKilledError, TooLongError
from shared.errors import ConfigError, PermanentError

Start = Callable[..., Confinement]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Makes confinements of tests/shared/confined_parts.py, and ends them."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    made: list[Confinement] = []

    def confinement(*arguments: str, answer_s: float = 30.0, **options: float) -> Confinement:
        made.append(Confinement("confined_parts", *arguments, answer_s=answer_s, **options))  # type: ignore[arg-type]
        return made[-1]

    yield confinement
    for each in made:
        each.close()


def has_ended(process: psutil.Process) -> bool:
    """Whether a process runs no more."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_requests_are_answered_one_after_another_by_one_process(start: Start) -> None:
    """Bytes go there and come back whole, also many, also none, and the process stays."""
    confined = start()
    large = os.urandom(5_000_000)
    assert confined.ask(b"echo " + large) == large
    assert confined.ask(b"echo ") == b""
    assert confined.ask(b"pid") == confined.ask(b"pid") != str(os.getpid()).encode()


def test_threads_get_their_own_answers(start: Start) -> None:
    """Asked by many at once, each is told what it asked for."""
    confined = start()
    words = [str(number).encode() for number in range(50)]
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(lambda word: confined.ask(b"echo " + word), words)) == words


def test_a_refusal_comes_through_with_its_words(start: Start) -> None:
    """Reason, detail and remedy cross the border; what could move a terminal's cursor is escaped."""
    with pytest.raises(PermanentError) as caught:
        start().ask(b"refuse it is\x1b[2J late")
    assert (caught.value.reason, caught.value.remedy) == ("not_today", "come back")
    assert caught.value.detail == "it is\\u001B[2J late"


@pytest.mark.parametrize(
    ("word", "how"), [(b"crash", ""), (b"raise", ""), (b"spin", "hasty"), (b"eat 4000000000", "")]
)
def test_a_request_that_kills_its_process_hurts_no_other(start: Start, word: bytes, how: str) -> None:
    """A crash, an unforeseen error, endless work, endless memory: the next request has a new process."""
    confined = start(*how.split())
    with pytest.raises(DecoderKilledError) as caught:
        confined.ask(word)
    assert caught.value.reason == "kills_decoder"
    assert confined.ask(b"echo alive") == b"alive"


def test_what_a_process_died_of_is_told(start: Start) -> None:
    """An error that nobody foresaw reaches the log of whoever asked, as does a signal."""
    confined = start()
    for word, words in ((b"raise", "ZeroDivisionError"), (b"crash", "signal 11")):
        with pytest.raises(DecoderKilledError, match=words):
            confined.ask(word)


@pytest.mark.parametrize(
    "answer",
    [
        b"hello, this is no answer at all",
        b"d\xff\xff\xff\xff" + bytes(1000),
        b"d\0\0\1\0half",
        b"r\0\0\0\5nope!",
        b"r\0\0\0\2[]",
        b"r\0\0\x40\0" + b"[" * 0x4000,
        b"x\0\0\0\2{}",
        b"b\0\0\0\2\xff\xff",
    ],
)
def test_a_process_that_was_taken_over_can_not_answer_just_anything(start: Start, answer: bytes) -> None:
    """What is no answer of ours, too long a one, half a one, or an error made to break its reader."""
    confined = start()
    with pytest.raises(DecoderKilledError):
        confined.ask(b"garble " + answer)
    assert confined.ask(b"echo alive") == b"alive"


def test_a_request_that_hangs_is_given_up(start: Start) -> None:
    """After its time the process is killed, and no second one is spent on it."""
    confined = start()
    before = int(confined.ask(b"pid"))
    confined._answer_s = 1.0  # of this request alone: the others may be slow on a busy machine
    with pytest.raises(TooLongError, match="more than 1 s"):
        confined.ask(b"hang")
    assert not psutil.pid_exists(before)
    confined._answer_s = 30.0
    assert confined.ask(b"echo alive") == b"alive"


def test_how_a_process_ended_is_waited_for(start: Start) -> None:
    """One that has closed its socket may have yet to end, and of what decides whether it is asked again."""
    with pytest.raises(TooLongError, match="core's time"):
        start().ask(b"end-slowly")


def test_a_process_that_somebody_else_killed_costs_nobody_an_answer(start: Start, tmp_path: Path) -> None:
    """Killed while idle, or once in the middle of a request, the request is answered by the next process."""
    confined = start()
    os.kill(int(confined.ask(b"pid")), signal.SIGKILL)
    assert confined.ask(b"echo alive") == b"alive"
    assert confined.ask(b"crash-once " + bytes(tmp_path / "flag")) == b"the second time"


def test_what_a_library_prints_is_no_answer(start: Start) -> None:
    """Standard output and input are nobody's: an answer is what the function returned."""
    confined = start()
    assert confined.ask(b"print hello") == b""
    assert confined.ask(b"echo still in step") == b"still in step"


def test_files_can_not_be_written_there(start: Start, tmp_path: Path) -> None:
    """Whoever takes the process over can't fill a disk with it."""
    confined = start()
    with pytest.raises(DecoderKilledError):
        confined.ask(b"write " + bytes(tmp_path / "x"))
    assert b"".join(path.read_bytes() for path in tmp_path.iterdir()) == b""


def test_a_process_that_can_not_start_says_why(start: Start) -> None:
    """What only a person can put right is a ConfigError, with its remedy."""
    with pytest.raises(ConfigError, match="no model") as caught:
        start("refuses").ask(b"echo")
    assert (caught.value.reason, caught.value.remedy) == ("no_model", "make one")


@pytest.mark.parametrize("how", ["dies", "babbles"])
def test_a_process_that_does_not_become_ready_may_be_tried_again(start: Start, how: str) -> None:
    """Dead at once, or speaking something else: not the request's fault."""
    with pytest.raises(ConfinementError) as caught:
        start(how).ask(b"echo")
    assert caught.value.reason == "no_process"


def test_who_waits_too_long_for_others_is_told(start: Start) -> None:
    """One request at a time; the others don't wait for ever."""
    confined = start(answer_s=60.0, wait_s=0.05)
    confined.ask(b"echo")
    with ThreadPoolExecutor(1) as pool:
        hangs = pool.submit(confined.ask, b"hang")
        wait_until(confined._turn.locked, within_s=30, what="the first request has its turn")
        with pytest.raises(ConfinementError) as caught:
            confined.ask(b"echo")
        assert caught.value.reason == "busy"
        confined._answer_s = 1.0  # of its second try
        assert confined._process is not None
        confined._process.kill()
        with pytest.raises(DecoderKilledError):
            hangs.result()


def test_an_idle_process_ends_and_comes_back(start: Start) -> None:
    """After a while without requests its memory is free; the next request does not notice."""
    confined = start("bored")
    first = psutil.Process(int(confined.ask(b"pid")))
    wait_until(lambda: has_ended(first), within_s=60, what="the idle process ends")
    assert confined.ask(b"echo again") == b"again"


def test_closing_ends_the_process(start: Start) -> None:
    """Nothing is left of it, and closing twice is fine."""
    confined = start()
    process = int(confined.ask(b"pid"))
    confined.close()
    confined.close()
    assert not psutil.pid_exists(process)


@pytest.mark.usefixtures("start")
def test_a_process_ends_with_the_one_that_started_it() -> None:
    """Killed at whatever instant, a server leaves no decoder behind, not even one that hangs."""
    show = (
        "from shared.confinement import Confinement\n"
        "confined = Confinement('confined_parts', 'hasty', answer_s=30)\n"
        "print(confined.ask(b'pid').decode(), flush=True)\n"
        "confined.ask(b'hang')"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", show], cwd=root, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        decoder = psutil.Process(int(server.stdout.readline()))
        server.kill()
    wait_until(lambda: has_ended(decoder), within_s=60, what="the orphan ends")
