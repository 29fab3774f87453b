import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest
from conftest import wait_until
from screen_parts import ToldDesk, case_id, make_row

import console.screen.follower
import console.screen.sender
from console.screen.follower import Away, Changed, Fault, Follower, Lost, News, Opened, Pulse
from console.screen.sender import NotSent, Sender, Sent
from deploy.private_broker import PrivateBroker
from shared.board import Opening
from shared.broker import Broker, connect
from shared.heartbeats import DESK
from shared.incidents import iso, utc_now
from shared.keys import BOARD_VERSION, alive_key, board_key, listening_key, moves_key, open_key
from shared.moves import Action, Move, new_move_id
from shared.settings import Settings


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of tens of milliseconds, not of seconds."""
    monkeypatch.setattr(console.screen.follower, "BLOCK_MS", 50)
    monkeypatch.setattr(console.screen.follower, "PULSE_S", 0.1)
    monkeypatch.setattr(console.screen.follower, "_WAIT_S", (0.05, 0.1))
    monkeypatch.setattr(console.screen.sender, "_AGAIN_S", 0.1)
    monkeypatch.setattr(console.screen.sender, "_LOOK_S", 0.05)


class Following:
    """A follower and everything it told."""

    def __init__(
        self, broker: Broker, department: str = "firefighters", *, tell: Callable[[News], None] | None = None
    ) -> None:
        self.news: list[News] = []
        self.follower = Follower(broker, department, tell or self.news.append)

    def __enter__(self) -> "Following":
        self.follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.follower.stop()
        assert self.follower.join(60), "the thread ends"

    def wait(self, kind: type[News], count: int = 1) -> None:
        """Wait until there is so much news of a kind."""
        wait_until(
            lambda: sum(isinstance(each, kind) for each in self.news) >= count,
            within_s=60,
            what=f"{count} {kind.__name__} in {self.kinds()}",
        )

    def versions(self) -> list[int]:
        """Versions of every change that was told, in order."""
        return [
            change.version for each in list(self.news) if isinstance(each, Changed) for change in each.changes
        ]

    def wait_version(self, version: int) -> None:
        """Wait until a change with this version was told."""
        wait_until(
            lambda: version in self.versions(), within_s=60, what=f"version {version} in {self.versions()}"
        )

    def kinds(self) -> list[str]:
        """What kinds of news were told, in order."""
        return [type(each).__name__ for each in list(self.news)]

    def openings(self) -> list[Opened]:
        """Every opening that was told."""
        return [each for each in list(self.news) if isinstance(each, Opened)]


def make_move() -> Move:
    """A move that nobody has asked for before."""
    return Move(
        move_id=new_move_id(),
        department="firefighters",
        case=case_id(1),
        action=Action.ACKNOWLEDGE,
        by="Ana",
        at=iso(utc_now()),
    )


def test_it_opens_and_then_follows(broker: Broker) -> None:
    """First everything open, then each change once, and between them that a desk runs."""
    desk = ToldDesk(broker)
    desk.publish(make_row(1), make_row(2))
    with Following(broker) as following:
        following.wait(Pulse)
        desk.publish(make_row(3), make_row(1, states={"firefighters": "closed"}))
        following.wait_version(4)
    (opened,) = following.openings()
    assert {row["case"] for row in opened.opening.rows} == {case_id(1), case_id(2)}
    assert not opened.again
    assert following.versions() == [3, 4]
    assert Pulse(1) in following.news


def test_a_desk_that_is_down_is_told(broker: Broker) -> None:
    """The heartbeat's end is news at the next pulse."""
    desk = ToldDesk(broker)
    desk.publish(make_row(1))
    with Following(broker) as following:
        wait_until(lambda: Pulse(1) in following.news, within_s=60, what="a desk")
        broker.delete(alive_key(DESK))
        wait_until(lambda: Pulse(0) in following.news, within_s=60, what="no desk")


def test_an_empty_board_is_followed_from_its_first_row(broker: Broker) -> None:
    """Before the desk's first row there is nothing to resume from, and nothing is asked again."""
    desk = ToldDesk(broker)
    with Following(broker) as following:
        following.wait(Opened, 2)
        desk.publish(make_row(1))
        following.wait_version(1)
    assert not any(opened.again for opened in following.openings())


def test_lost_boards_are_told_and_come_back(broker: Broker) -> None:
    """While the broker has no boards nothing is opened; once the desk has put them back, everything is."""
    desk = ToldDesk(broker)
    desk.publish(make_row(1), make_row(2))
    with Following(broker) as following:
        following.wait(Pulse)
        broker.flushall()
        following.wait(Lost)
        assert len(following.openings()) == 1
        desk.publish(make_row(2))
        following.wait(Opened, 2)
        desk.publish(make_row(3))
        following.wait_version(4)
    assert [row["case"] for row in following.openings()[-1].opening.rows] == [case_id(2)]


def test_a_board_of_an_older_record_is_opened_anew(broker: Broker) -> None:
    """Where versions went back, what changed since can't be said: answers to moves may be lost too."""
    desk = ToldDesk(broker)
    desk.publish(make_row(1), make_row(2), make_row(3))
    with Following(broker) as following:
        following.wait(Pulse)
        with broker.pipeline(transaction=True) as pipeline:
            pipeline.delete(board_key("firefighters"), open_key("firefighters"))
            pipeline.set(BOARD_VERSION, 1)
            pipeline.execute()
        following.wait(Opened, 2)
    assert following.openings()[-1].again


def test_after_a_fault_everything_is_compared(broker: Broker, settings: Settings) -> None:
    """What changed meanwhile is told as changes first, then what is open: some of it may have no entry."""
    desk = ToldDesk(broker)
    desk.publish(make_row(1), make_row(2))
    changed = threading.Event()

    def tell(news: News) -> None:
        following.news.append(news)
        if isinstance(news, Away):
            assert changed.wait(60)  # it looks again only once everything has changed

    def cut() -> bool:
        """Cut its line until it notices: between two commands it would just connect again."""
        ours = broker.client_id()
        for each in broker.client_list():
            if int(each["id"]) != ours:
                broker.client_kill_filter(_id=each["id"])
        return "Away" in following.kinds()

    with connect(settings) as reading:
        following = Following(reading, tell=tell)
        with following:
            following.wait(Pulse)
            wait_until(cut, within_s=60, what="it is away")
            desk.publish(make_row(1, states={"firefighters": "closed"}))
            broker.hdel(open_key("firefighters"), case_id(2))
            changed.set()
            following.wait(Opened, 2)
    kinds = following.kinds()
    assert [kind for kind in kinds[kinds.index("Away") :] if kind != "Pulse"][:3] == [
        "Away",
        "Changed",
        "Opened",
    ]
    assert following.openings()[-1] == Opened(Opening(3, []), again=False)


@pytest.mark.parametrize("row", ["{", '{"schema_version":99}', "[]"])
def test_a_row_that_can_not_be_read_is_told(broker: Broker, row: str) -> None:
    """The fault is told once; when the row is right again, so is everything."""
    broker.hset(open_key("firefighters"), case_id(1), row)
    with Following(broker) as following:
        following.wait(Fault)
        broker.delete(open_key("firefighters"))
        following.wait(Opened)
    assert sum(isinstance(each, Fault) for each in following.news) == 1


def test_a_console_without_the_right_is_told(broker: Broker, settings: Settings) -> None:
    """A broker that refuses is a fault with its words, not a broker that is away."""
    broker.acl_setuser(
        "guest", enabled=True, reset=True, passwords=["+secret"], categories=["+@all"], keys=["other:*"]
    )
    url = settings.redis_url.replace("unix://", "unix://guest:secret@")
    try:
        with connect(Settings(redis_url=url)) as guest, Following(guest) as following:
            following.wait(Fault)
            (fault,) = [each for each in following.news if isinstance(each, Fault)]
            assert "refuses" in fault.words and "permission" in fault.words.lower()
            told: list[Sent | NotSent] = []
            sender = Sender(guest, told.append)
            sender.start()
            sender.send(make_move())
            wait_until(lambda: told, within_s=60, what="an answer")
            assert isinstance(told[0], NotSent)
            sender.stop()
            assert sender.join(60)
    finally:
        broker.acl_deluser("guest")


@pytest.fixture
def own() -> Iterator[Settings]:
    """Settings of a broker of its own, not yet started."""
    folder = Path(mkdtemp(prefix="almenara-test-"))
    yield Settings(state_dir=folder)
    rmtree(folder, ignore_errors=True)


def start(settings: Settings) -> "subprocess.Popen[bytes]":
    """Start a private broker on its files, new or old."""
    private = PrivateBroker(settings)
    private.prepare()
    process = subprocess.Popen(private.command())
    private.wait_until_ready(process)
    return process


@pytest.mark.fault
def test_a_broker_that_restarts_loses_and_repeats_nothing(own: Settings) -> None:
    """Across three crashes each version is told once and in order, and each time that it is away."""
    process = start(own)
    with connect(own) as client, connect(own) as reading, Following(reading) as following:
        desk = ToldDesk(client)
        following.wait(Pulse)
        for round_ in range(1, 4):
            desk.publish(*(make_row(number) for number in range(20)))
            if round_ > 1:
                following.wait_version(desk.version)
            process.kill()
            process.wait(timeout=60)
            following.wait(Away, round_)
            process = start(own)
        desk.publish(make_row(99))
        following.wait_version(desk.version)
        process.kill()
        process.wait(timeout=60)
        following.wait(Away, 4)
    seen = following.versions()
    first = following.openings()[-1].opening.version if not seen else seen[0]
    assert seen == list(range(first, desk.version + 1))
    assert not any(opened.again for opened in following.openings())
    assert following.kinds().count("Away") == 4


@pytest.mark.fault
def test_a_move_goes_out_when_the_broker_is_back(own: Settings) -> None:
    """What was asked while the broker was away stands in the stream once, and in order."""
    told: list[Sent | NotSent] = []
    moves = [make_move() for _ in range(3)]
    with connect(own) as client:
        sender = Sender(client, told.append)
        sender.start()
        for move in moves:
            sender.send(move)
        process = start(own)
        wait_until(lambda: len(told) == 3, within_s=60, what="three moves sent")
        entries = client.xrange(moves_key("firefighters"))
        assert [Move.decode("firefighters", fields[b"move"]) for _, fields in entries] == moves
        sender.stop()
        assert sender.join(60)
        process.kill()
        process.wait(timeout=60)


def test_who_quits_does_not_wait_for_the_broker(own: Settings) -> None:
    """The threads are no reason to stay: they end by themselves, and the process does not wait for them."""
    with connect(own) as client, Following(client) as following:
        following.wait(Away)
        ours = [thread for thread in threading.enumerate() if thread.name == "follower"]
        assert ours and all(thread.daemon for thread in ours)


def test_a_screen_listens_for_its_department(broker: Broker) -> None:
    """From its first pulse until it is left: the alarm that nobody listens looks at this."""
    told: list[News] = []
    follower = Follower(broker, "all", told.append, ("firefighters", "ambulance"))
    follower.start()
    keys = [listening_key(department) for department in ("firefighters", "ambulance")]
    try:
        wait_until(lambda: all(broker.zcard(key) == 1 for key in keys), within_s=60, what="it listens")
    finally:
        follower.stop()
        assert follower.join(60)
    assert not any(broker.exists(key) for key in keys)
