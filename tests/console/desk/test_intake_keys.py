"""Keys of moves that hold something else: said once, and no other department waits."""

from contextlib import AbstractContextManager

from structlog.testing import capture_logs

from console.desk.book import Book
from console.desk.intake import Intake
from shared.broker import Broker
from shared.keys import CHANGED, moves_key
from shared.routing import Routing
from shared.settings import Settings


def unused() -> AbstractContextManager[Book]:
    """No transaction is begun for reading."""
    raise AssertionError


def test_a_key_that_is_no_stream_is_said_once(broker: Broker) -> None:
    """Not at every reading; and once more when it has been put right."""
    intake = Intake(unused, broker, Routing.load(Settings().routing))
    after = dict.fromkeys(intake.streams, "0")
    broker.set(moves_key("ambulance"), "what somebody wrote by mistake")
    broker.xadd(CHANGED, {"id": "a"})
    with capture_logs() as lines:
        read = [intake.read(after, None) for _ in range(5)]
        broker.delete(moves_key("ambulance"))
        read += [intake.read(after, None) for _ in range(5)]
    assert [[entry.stream for entry in entries] for entries in read] == [[CHANGED]] * 10
    assert [(line["log_level"], line["keys"]) for line in lines] == [
        ("error", [moves_key("ambulance")]),
        ("info", [moves_key("ambulance")]),
    ]
