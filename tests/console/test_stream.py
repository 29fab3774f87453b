import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from conftest import make_entries, wait_until

import console.stream
from console.stream import PAGE, Entry, OncePerRevision, Reader
from deploy.private_broker import PrivateBroker
from shared.broker import Broker, connect, patiently
from shared.dispatches import Dispatch
from shared.keys import dispatch_key
from shared.settings import Settings

EVENT = make_entries(1)[0][1]


def send(broker: Broker, department: str, count: int = 1, *, event: str | bytes = EVENT) -> list[str]:
    """Add entries to a stream; their ids."""
    with broker.pipeline(transaction=False) as pipeline:
        for _ in range(count):
            pipeline.xadd(dispatch_key(department), {"event": event})
        return [entry_id.decode() for entry_id in pipeline.execute()]


def ids(entries: list[Entry]) -> list[str]:
    """Entry ids."""
    return [entry.entry_id for entry in entries]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read of a quiet stream waits a twentieth of a second, not a whole one."""
    monkeypatch.setattr(console.stream, "BLOCK_MS", 50)


class Following:
    """A reader that follows in a thread, and what it has read so far."""

    def __init__(self, reader: Reader) -> None:
        self.read: list[Entry] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(reader,))

    def __enter__(self) -> "Following":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def ended(self) -> bool:
        """Whether it has stopped reading."""
        return not self._thread.is_alive()

    def wait(self, count: int) -> list[Entry]:
        """Wait until as many entries are read."""
        wait_until(
            lambda: len(self.read) >= count, within_s=60, what=f"{count} entries, not {len(self.read)}"
        )
        return self.read

    def _run(self, reader: Reader) -> None:
        for entry in reader.follow(self._stop.is_set):
            self.read.append(entry)


def test_an_entry_is_read_as_it_was_sent(broker: Broker) -> None:
    """Department, id, the record and its text are those of the stream."""
    (entry_id,) = send(broker, "ambulance")
    (entry,) = Reader(broker, ["ambulance"]).backlog()
    assert (entry.entry_id, entry.department, entry.event) == (entry_id, "ambulance", EVENT)
    assert entry.dispatch.data["number"] == "0001"


def test_the_backlog_comes_first_and_then_what_follows(broker: Broker) -> None:
    """A console that opens misses nothing between what was there and what comes, and repeats nothing."""
    sent = send(broker, "ambulance", 3)
    reader = Reader(broker, ["ambulance"])
    assert ids(list(reader.backlog())) == sent
    sent += send(broker, "ambulance", 2)
    with Following(reader) as following:
        following.wait(2)
        sent += send(broker, "ambulance", 2)
        assert ids(following.wait(4)) == sent[3:]


def test_a_department_sees_no_others(broker: Broker) -> None:
    """Only the streams that were asked for are read."""
    send(broker, "firefighters", 5)
    sent = send(broker, "ambulance")
    assert ids(list(Reader(broker, ["ambulance"]).backlog())) == sent


def test_since_starts_after_an_entry(broker: Broker) -> None:
    """A reader that knows where it was goes on with the next entry."""
    sent = send(broker, "ambulance", 5)
    assert ids(list(Reader(broker, ["ambulance"], since=sent[2]).backlog())) == sent[3:]
    assert ids(list(Reader(broker, ["ambulance"], since=sent[-1]).backlog())) == []


def test_a_long_backlog_is_read_to_its_end(broker: Broker) -> None:
    """More entries than one page holds all come, in order."""
    sent = send(broker, "ambulance", 2 * PAGE + 7)
    assert ids(list(Reader(broker, ["ambulance"]).backlog())) == sent


def test_several_streams_are_merged_in_order(broker: Broker) -> None:
    """Streams of very different lengths, longer than a page, come as one, oldest first and complete."""
    every = {"police-force": 1, "transit-police": 3, "ambulance": 170}
    expected = []
    with broker.pipeline(transaction=False) as pipeline:
        for number in range(1, 3 * PAGE):
            for department, nth in every.items():
                if number % nth == 0:
                    pipeline.xadd(dispatch_key(department), {"event": EVENT}, id=f"{number}-1")
                    expected.append((f"{number}-1", department))
        pipeline.execute()
    read = [(entry.entry_id, entry.department) for entry in Reader(broker, list(every)).backlog()]
    assert [entry_id for entry_id, _ in read] == [entry_id for entry_id, _ in expected]
    assert sorted(read) == sorted(expected)


def test_order_is_by_number_not_by_letter(broker: Broker) -> None:
    """The ninth entry of a millisecond comes before the tenth."""
    for department, entry_id in (("ambulance", "5-10"), ("firefighters", "5-9"), ("review", "40-0")):
        broker.xadd(dispatch_key(department), {"event": EVENT}, id=entry_id)
    assert ids(list(Reader(broker, ["ambulance", "firefighters", "review"]).backlog())) == [
        "5-9",
        "5-10",
        "40-0",
    ]


def test_streams_that_begin_later_are_followed(broker: Broker) -> None:
    """A department that was never told anything is read from its first dispatch on."""
    with Following(Reader(broker, ["ambulance", "firefighters"])) as following:
        sent = send(broker, "firefighters")
        assert ids(following.wait(1)) == sent


@pytest.mark.parametrize("event", [b"", b"{", b"\xff\xfe", b'{"specversion":"1.0"}'])
def test_a_broken_entry_is_said_and_passed_over(broker: Broker, event: bytes) -> None:
    """An entry that is no dispatch hides neither those before nor those behind it, and is logged by id."""
    good = send(broker, "ambulance")
    (broken,) = send(broker, "ambulance", event=event)
    good += send(broker, "ambulance")
    with structlog.testing.capture_logs() as said:
        assert ids(list(Reader(broker, ["ambulance"]).backlog())) == good
    # Of all that is said meanwhile, by others' threads too, what is about an entry.
    assert [(line["log_level"], line["entry"]) for line in said if "entry" in line] == [("error", broken)]


def test_an_entry_without_its_field_is_passed_over(broker: Broker) -> None:
    """An entry of other fields is no dispatch either."""
    broker.xadd(dispatch_key("ambulance"), {"move": "x"})
    good = send(broker, "ambulance")
    assert ids(list(Reader(broker, ["ambulance"]).backlog())) == good


def test_a_page_of_broken_entries_is_not_the_end(broker: Broker) -> None:
    """However many entries in a row can't be shown, the ones behind them are."""
    send(broker, "ambulance", PAGE, event=b"{")
    good = send(broker, "ambulance")
    assert ids(list(Reader(broker, ["ambulance"]).backlog())) == good


def test_following_ends_when_told(broker: Broker) -> None:
    """`stop` is looked at between reads, so a quiet stream does not hold up the end."""
    answers = iter([False, False, True])
    assert list(Reader(broker, ["ambulance"]).follow(lambda: next(answers))) == []


@pytest.fixture
def own() -> Iterator[Settings]:
    """Settings of a broker of its own, not yet started."""
    folder = Path(tempfile.mkdtemp(prefix="almenara-test-"))
    yield Settings(state_dir=folder)
    shutil.rmtree(folder, ignore_errors=True)


def start(settings: Settings) -> "subprocess.Popen[bytes]":
    """Start a private broker on its files, new or old."""
    private = PrivateBroker(settings)
    private.prepare()
    process = subprocess.Popen(private.command())
    private.wait_until_ready(process)
    return process


def crash(process: "subprocess.Popen[bytes]") -> None:
    """End a broker as a power cut would."""
    process.kill()
    process.wait(timeout=60)


def test_a_crash_of_the_broker_loses_and_repeats_nothing(own: Settings) -> None:
    """A reader that follows across three crashes of the broker has at the end what the streams have, once."""
    process = start(own)
    departments = ["ambulance", "firefighters"]
    with (
        connect(own) as client,
        connect(own) as reading,
        Following(Reader(reading, departments)) as following,
    ):
        for round_ in range(1, 4):
            for department in departments:
                patiently(partial(send, client, department, 20))
            if round_ > 1:
                following.wait(round_ * 20)
            crash(process)
            process = start(own)
        kept: list[Any] = [*client.xrange("dispatch:ambulance"), *client.xrange("dispatch:firefighters")]
        assert len(kept) >= 120
        read = following.wait(len(kept))
        assert sorted(ids(read)) == sorted(entry_id.decode() for entry_id, _ in kept)
        crash(process)


def test_following_ends_while_the_broker_is_away(own: Settings) -> None:
    """Ctrl-C works without a broker too."""
    with connect(own) as client, Following(Reader(client, ["ambulance"])) as following:
        assert following.read == []
    assert following.ended()


def test_each_incident_passes_once(broker: Broker) -> None:
    """An incident that several departments were told of is new once; another one is new."""
    for seed in (1, 2):
        for department, event in make_entries(seed, number=f"{seed:04}", situation="accident"):
            send(broker, department, event=event)
    is_new = OncePerRevision()
    entries = list(Reader(broker, ["towing-unit", "ambulance", "transit-police"]).backlog())
    assert [is_new(entry) for entry in entries] == [True, False, False, True, False, False]


def test_each_later_decision_passes_once(broker: Broker) -> None:
    """A correction of what was shown is news, once for all departments that were told of it."""
    for revision in (1, 2, 3):
        for department, event in make_entries(1, situation="accident"):
            record = json.loads(event)
            record["data"]["revision"] = revision
            send(broker, department, event=json.dumps(record))
    is_new = OncePerRevision()
    entries = list(Reader(broker, ["towing-unit", "ambulance", "transit-police"]).backlog())
    assert [is_new(entry) for entry in entries] == [True, False, False] * 3


def test_decisions_of_one_instant_keep_their_order(broker: Broker) -> None:
    """In one millisecond, streams that are an entry out of step still show the earlier decision first."""
    (behind, event), (ahead, _) = make_entries(1, situation="accident")[:2]
    later = json.loads(event)
    later["data"]["revision"] = 2
    broker.xadd(dispatch_key(ahead), {"event": json.dumps(later)}, id="5-0")
    broker.xadd(dispatch_key(behind), {"event": event}, id="5-1")
    shown = [entry.dispatch.data["revision"] for entry in Reader(broker, [ahead, behind]).backlog()]
    assert shown == [1, 2]


def test_what_is_remembered_has_a_limit() -> None:
    """A console that runs for months does not grow: the oldest incident is forgotten first."""
    is_new = OncePerRevision(remember=2)
    entries = [entry_of(seed) for seed in (1, 2, 3, 3, 2, 1)]
    assert [is_new(entry) for entry in entries] == [True, True, True, False, False, True]


def entry_of(seed: int) -> Entry:
    """An entry about the photograph with this seed."""
    department, event = make_entries(seed)[0]
    return Entry("1-1", department, event, Dispatch.decode(event))
