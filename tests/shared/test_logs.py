import json
import subprocess
import sys
from typing import Any

import pytest

from shared.logs import words_of

# A process of its own: logging is configured once for all of it.
SPEAK = """
import logging, sys, threading
import structlog
from shared.logs import configure
from shared.settings import Settings
configure(Settings(log_format=sys.argv[1], log_level=sys.argv[2]), "ingest")
log = structlog.get_logger()
log.debug("looked")
log.info("taken in", files=3, name="Stra\\u00dfe \\udcff.jpg")
thread = threading.Thread(target=lambda: log.warning("from a thread"))
thread.start()
thread.join()
password = "hunter" + str(2)
try:
    raise ValueError("a fault of ours")
except ValueError:
    log.exception("could not be examined", claim="0123")
logging.getLogger("watchdog.observers").warning("queue of %d is full", 7)
logging.getLogger("watchdog.observers").info("chatter")
"""


def spoken(form: str = "json", level: str = "info") -> str:
    """Everything that a service says on standard error."""
    ran = subprocess.run(
        [sys.executable, "-c", SPEAK, form, level], capture_output=True, check=True, encoding="utf-8"
    )
    assert ran.stdout == ""
    return ran.stderr


def lines(level: str = "info") -> list[dict[str, Any]]:
    """The JSON lines."""
    return [json.loads(line) for line in spoken(level=level).splitlines()]


@pytest.fixture(scope="module")
def said() -> list[dict[str, Any]]:
    """What is said at level info."""
    return lines()


def test_each_line_is_a_json_object(said: list[dict[str, Any]]) -> None:
    """One object a line with level, time, service and facts, whatever a file name holds."""
    first = said[0]
    assert (first["event"], first["level"], first["service"], first["files"]) == (
        "taken in",
        "info",
        "ingest",
        3,
    )
    assert first["timestamp"].endswith("Z")
    assert first["name"] == "Straße \udcff.jpg"


def test_threads_say_their_service_too(said: list[dict[str, Any]]) -> None:
    """A line from another thread than the main one names the service."""
    assert {line["service"] for line in said} == {"ingest"}
    assert "from a thread" in [line["event"] for line in said]


def test_a_traceback_stays_in_its_line(said: list[dict[str, Any]]) -> None:
    """An exception is part of its JSON line, with what was raised."""
    (line,) = (line for line in said if line["event"] == "could not be examined")
    assert line["claim"] == "0123"
    assert "ValueError: a fault of ours" in line["exception"]


def test_libraries_speak_in_the_same_form(said: list[dict[str, Any]]) -> None:
    """What a library warns of is a JSON line like ours; its chatter is left out."""
    events = [line["event"] for line in said]
    assert "queue of 7 is full" in events
    assert "chatter" not in events


def test_the_level_holds_back_what_is_below() -> None:
    """`warning` leaves out what is only for information, `debug` tells all of ours."""
    assert "taken in" not in [line["event"] for line in lines("warning")]
    assert "looked" in [line["event"] for line in lines("debug")]


def test_a_person_gets_lines_without_json() -> None:
    """The console form reads as text, has no colours in a pipe, and shows the traceback, but no variable."""
    text = spoken("console")
    assert "hunter2" not in text
    assert "taken in" in text
    assert "ValueError: a fault of ours" in text
    assert "\x1b[" not in text
    assert '{"' not in text


FALL = """
import logging, sys, threading, warnings
import structlog
from shared.logs import configure, said_last
from shared.settings import Settings
configure(Settings(log_format="json"), "worker")
warnings.warn("an old\\nhabit")
thread = threading.Thread(target=lambda: 1 / 0, name="publish")
thread.start()
thread.join()
class Kept:
    def __del__(self):
        raise RuntimeError("too late")
Kept()
said_last(ValueError("no such\\nmodel"))
def speak(number):
    for each in range(200):
        structlog.get_logger().info("a line", number=number, each=each)
        logging.getLogger("library").warning("a line of a library")
threads = [threading.Thread(target=speak, args=(number,)) for number in range(4)]
for each in threads: each.start()
for each in threads: each.join()
raise OSError("the disk is gone")
"""


def test_whatever_ends_a_thread_or_the_process_is_a_line_too() -> None:
    """Warnings, tracebacks of threads and of the process itself; and no line breaks into another."""
    ran = subprocess.run(
        [sys.executable, "-c", FALL], capture_output=True, check=False, encoding="utf-8", timeout=60
    )
    assert ran.returncode == 1
    said = [json.loads(line) for line in ran.stderr.splitlines()]
    assert {line["service"] for line in said} == {"worker"}
    events = [line["event"] for line in said]
    assert events.count("a line") == events.count("a line of a library") == 800
    assert any("an old\nhabit" in event for event in events)
    told = "".join(str(line) for line in said)
    assert all(words in told for words in ("ZeroDivisionError", "too late", "no such", "the disk is gone"))


def test_a_persons_terminal_gets_words() -> None:
    """The launcher shows the last line of a service's log: without the JSON around it."""
    assert (
        words_of('{"event": "can\'t run", "error": "no model", "level": "critical"}') == "can't run: no model"
    )
    assert words_of("almenara: no model") == "almenara: no model"
    assert words_of("[1]") == "[1]"
