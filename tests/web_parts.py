"""What tests of the web console share: a real server on a real port, broker, record and desk, and users."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from queue import Queue
from typing import Any, Self

import httpx
import pytest
from conftest import make_photograph, picture_bytes, wait_until
from sqlalchemy import Engine
from sqlalchemy.orm import Session as Transaction

import console.records
import console.web.api_moves
import console.web.connections
import console.web.following
import console.web.server
from console.desk import feed
from console.desk.book import writing
from console.desk.publishing import publish
from console.desk.service import DeskService
from console.passwords import hash_password
from console.pictures import Pictures
from console.records import migrate, open_database
from console.tables import IncidentRecord
from console.userfile import Role, UserFile, UserRecord
from console.users import Users
from console.web.app import make_app
from console.web.parts import Parts
from console.web.server import serve
from console.web.sessions import COOKIE
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.dispatches import Decision, decision_fields
from shared.images import ImageStore
from shared.incidents import iso, utc_now
from shared.keys import CHANGED, INCIDENTS, incident_key
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict

console.web.following.BLOCK_MS = 50  # a server stops once its reader's last read of a quiet board is over

# On a busy machine a desk takes its time to begin, and a test between two lines of its own: neither is what
# tests are about, but for those that set these themselves.
console.web.api_moves.WAIT_S = 60
console.web.connections.HEAD_S = console.web.connections.BODY_S = 600
console.web.server.KEEP_ALIVE_S = 600

PATIENCE_S = 60.0
"""For what another thread or process does; longer than any of it takes."""
ANSWER_S = 90.0
"""For an answer of the server; longer than a move waits for the desk."""

PASSWORD = "salmon under the bridge"  # noqa: S105 - of users that tests make
FOREIGN_ID = "f" * 32


@cache
def password_hash() -> str:
    """The hash of `PASSWORD`: making one takes a while."""
    return hash_password(PASSWORD)


@cache
def _tls() -> ssl.SSLContext:
    """Never used, and slow to make for each client."""
    return ssl.create_default_context()


class WebRig:
    """A web console and what is behind it. Incidents arrive as the worker and the desk would leave them.

    Attributes:
        url: of the server, while it runs, whatever its users call it.
        app: the application, while it runs.
        loop: the event loop that it runs in.
    """

    def __init__(self, settings: Settings, broker: Broker, *, explain: Any = None) -> None:
        self.settings, self.broker = settings, broker
        self.routing = Routing.load(settings.routing)
        self.store = ImageStore(settings.image_store_url)
        self.engine = self._opened()
        migrate(self.engine)
        self.pictures = Pictures(self.store, settings.max_pixels)
        self.users = Users.load(settings.users_path)
        self.url = ""
        self.app: Any = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._explain = explain
        self._arrived = 0
        self._clients: list[httpx.Client] = []

    def _opened(self, *, read_only: bool = False) -> Engine:
        """The record, as a desk in this process opens it: on a busy machine it may be locked for long."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(console.records, "BUSY_S", 60.0)
            return open_database(self.settings.database, read_only=read_only)

    def add_user(self, name: str, *roles: str, departments: Sequence[str] = ()) -> None:
        """A user with `PASSWORD`."""
        with UserFile(self.settings.users_path).changing() as users:
            record = UserRecord(
                name=name,
                password_hash=password_hash(),
                roles=tuple(map(Role, roles)),
                departments=tuple(departments),
                created_at=iso(utc_now()),
            )
            users[record.key] = record

    def add_everybody(self) -> None:
        """One user of each kind."""
        self.add_user("ana", "operator", departments=["firefighters"])
        self.add_user("tomas", "operator", departments=["transit-police"])
        self.add_user("vera", "viewer", departments=["firefighters"])
        self.add_user("rita", "reviewer")
        self.add_user("sol", "supervisor", departments=["all"])

    def make_app(self) -> Any:
        """The application."""
        return make_app(
            self.settings,
            self.broker,
            self.engine,
            self.routing,
            self.users,
            self.pictures,
            explain=self._explain,
        )

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """Serve in a thread, until the end of the block."""
        self.app = self.make_app()
        stop, listening = threading.Event(), Queue[int]()
        settings = self.settings.override(web_port=0)

        def tell(port: int) -> None:
            self.loop = asyncio.get_running_loop()
            listening.put(port)

        server = threading.Thread(target=serve, args=(self.app, settings, stop.is_set, tell))
        server.start()
        try:
            self.url = f"http://127.0.0.1:{listening.get(timeout=60)}"
            yield self
        finally:
            stop.set()
            server.join(timeout=60)
            assert not server.is_alive(), "the server did not stop"

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """The server's loop does nothing until the end of the block; what is sent waits in the kernel."""
        assert self.loop is not None
        holds, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            holds.set()
            go_on.wait(timeout=60)

        self.loop.call_soon_threadsafe(hold)
        assert holds.wait(timeout=PATIENCE_S)
        try:
            yield
        finally:
            go_on.set()

    @property
    def parts(self) -> Parts:
        """Of the application that is served."""
        parts: Parts = self.app.state.parts
        return parts

    def client(self, name: str = "") -> httpx.Client:
        """A browser; of a user, one who has logged in."""
        client = httpx.Client(base_url=self.url, timeout=ANSWER_S, verify=_tls())
        self._clients.append(client)
        if name:
            user = self.users.find(name)
            assert user is not None
            session, cookie = self.parts.sessions.begin(user)
            client.cookies.set(COOKIE, cookie, domain="127.0.0.1")
            client.headers["X-CSRF-Token"] = session.csrf
        return client

    @contextmanager
    def desk(self) -> Iterator[None]:
        """A desk that runs, until the end of the block."""
        stop = threading.Event()
        service = DeskService(self.settings, self.broker, self.routing, self.engine)
        thread = threading.Thread(target=service.run, args=(stop.is_set,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=60)
            assert not thread.is_alive(), "the desk did not stop"

    def arrive(
        self,
        situation: str | None = "fire",
        *,
        verdict: Verdict = Verdict.DISPATCHED,
        place: Coordinates | None = None,
        label: str = "cam 7",
        note: str = "",
        hear: bool = True,
    ) -> str:
        """A worker decides another photograph; its incident's id, which is also that of its case.

        Each lies at a place of its own, unless it is given, so that nothing is grouped.

        Args:
            hear: the desk takes it up and publishes at once, without running.
        """
        self._arrived += 1
        seed, now = 1000 + self._arrived, utc_now()
        apart = Coordinates(latitude_deg=-60 + self._arrived * 0.5, longitude_deg=151.2153)
        photograph = make_photograph(seed, coordinates=place or apart, label=label, note=note)
        self.store.put_picture(picture_bytes(seed), photograph.image.split("/")[2].split(".")[0], "jpeg")
        scores = {situation: 0.8, "robbery": 0.1, "normal": 0.1} if situation else {}
        decision = Decision(
            verdict=verdict,
            situation=situation,
            confidence=0.8,
            scores=scores,
            model="test@0 torch-cpu",
        )
        fields: dict[Any, Any] = photograph.to_fields() | {
            "number": f"{self._arrived:04d}",
            "state": "decided",
            "seen_count": "1",
            "last_seen_at": iso(now),
            **decision_fields(decision, decision.addressees(self.routing), now),
        }
        incident = photograph.incident_id
        self.broker.hset(incident_key(incident), mapping=fields)
        self.broker.zadd(INCIDENTS, {incident: now.timestamp()})
        self.broker.xadd(CHANGED, {"id": incident})
        if hear:
            with writing(self.engine, self.broker, self.routing, self.settings) as book:
                feed.apply(book, feed.fetch(self.broker, [incident]))
            publish(self.engine, self.broker)
        return incident

    def change(self, incident: str, **columns: Any) -> None:
        """Set columns of an incident in the record."""
        with Transaction(self.engine.execution_options(almenara_writes=True)) as session:
            record = session.get_one(IncidentRecord, incident)
            for name, value in columns.items():
                setattr(record, name, value)
            session.commit()

    def read_only(self) -> None:
        """From now on the console has the record through a connection that can't write."""
        self.engine.dispose()
        self.engine = self._opened(read_only=True)

    def read(self, version_of: str | None = None) -> None:
        """Wait until the server has read the board, and on it a case."""
        live = self.parts.live
        wait_until(lambda: live.following, within_s=PATIENCE_S, what="the server reads the board")
        if version_of is not None:
            wait_until(lambda: live.row(version_of), within_s=PATIENCE_S, what="the server knows the case")

    def log_in(self, name: str = "ana", password: str = PASSWORD, **headers: str) -> httpx.Response:
        """Log in as a browser does."""
        credentials = {"name": name, "password": password}
        return self.client().post("/api/session", json=credentials, headers=headers)

    def move(self, client: httpx.Client, case: str, **move: Any) -> httpx.Response:
        """Ask for a move."""
        return client.post(f"/api/cases/{case}/moves", json=move)

    def moves_asked(self) -> int:
        """Moves in all streams."""
        return sum(self.broker.xlen(key) for key in self.broker.scan_iter(match="moves:*"))

    def close(self) -> None:
        """End what was started."""
        for client in self._clients:
            client.close()
        self.pictures.close()
        self.engine.dispose()


class Stream:
    """An event stream as a browser reads it, in a thread. Leaves at the end of its block.

    Attributes:
        events: what came: the fields of each, `data` read.
        status: of the answer.
        ended: set once the server has ended the stream.
    """

    def __init__(self, client: httpx.Client, last_event_id: str | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.ended = threading.Event()
        self.status = 0
        where = client.base_url
        self._connection = http.client.HTTPConnection(where.host, where.port, timeout=ANSWER_S)
        self._headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
        if last_event_id is not None:
            self._headers["Last-Event-ID"] = last_event_id
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._response: Any = None
        self._asked = False

    def ask(self) -> None:
        """Connect and ask, and wait for no answer: the block does, which asks where nobody has."""
        if not self._asked:
            self._asked = True
            self._connection.request("GET", "/api/live", headers=self._headers)

    def __enter__(self) -> Self:
        self.ask()
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=PATIENCE_S)
        self._connection.close()

    def wait(self, kind: str, passes: Callable[[Any], object] = lambda _: True, count: int = 1) -> Any:
        """The data of the `count`th event of a kind that passes, once it is there."""
        wait_until(
            lambda: len(self.of(kind, passes)) >= count,
            within_s=PATIENCE_S,
            what=f"{count} {kind}; got {[each['event'] for each in self.events]}",
        )
        return self.of(kind, passes)[count - 1]

    def of(self, kind: str, passes: Callable[[Any], object] = lambda _: True) -> list[Any]:
        """The data of all events of a kind that pass."""
        return [each["data"] for each in list(self.events) if each["event"] == kind and passes(each["data"])]

    @property
    def last_event_id(self) -> str:
        """As a browser would send it when it comes back."""
        return [str(each["id"]) for each in self.events if "id" in each][-1]

    @property
    def version(self) -> int:
        """Of the last event with an id."""
        return int(self.last_event_id.partition("-")[0])

    def _run(self) -> None:
        fields: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            while line := self._response.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = json.loads(value) if name == "data" else value
                elif "event" in fields:
                    self.events.append(fields)
                    fields = {}
        self.ended.set()
