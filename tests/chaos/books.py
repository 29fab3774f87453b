"""The books: what was sent against what became of it, in every place that says so."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
from redis.exceptions import RedisError
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from standardwebhooks import Webhook
from webhook_parts import SECRET

from chaos.people import People
from chaos.street import Sent, Street
from chaos.town import PASSWORD, Town
from console.records import open_database, rows_of
from console.tables import Case, IncidentRecord, Ledger, MoveRecord
from ingest.claims import claimed_files
from ingest.rejects import Rejects
from ingest.watching import find_candidates
from shared.board import changes, is_open, open_rows
from shared.broker import Broker, patiently, words
from shared.dispatches import Dispatch
from shared.incidents import all_ids
from shared.keys import BOARD_VERSION, COUNTS, DISPATCH_PREFIX, LEASES, incident_key
from shared.moves import AssignmentState
from shared.routing import ALL, REVIEW, Routing

SETTLES_WITHIN_S = 400.0
PAGE = 500
VERDICTS = {"unclear": "unsure", "normal": "no_emergency"}


class Unsettled(Exception):  # noqa: N818 - what a round came to, no error of ours
    """Raised when a round's photographs don't come to their end in time; says what is missing."""


class Books:
    """Looks after each round whether everything came to its end, and rightly.

    Attributes:
        quarantined: incidents that went to review because two workers were killed while they had them alone.
    """

    def __init__(self, town: Town, street: Street, people: People) -> None:
        self.quarantined: set[str] = set()
        self._town = town
        self._street = street
        self._people = people
        self._broker: Broker = town.client()
        self._routing = Routing.load(town.settings.routing)
        self._engine: Engine = open_database(town.settings.database, read_only=True)
        origin = f"http://127.0.0.1:{town.settings.web_port}"
        self._web = httpx.Client(base_url=origin, headers={"Origin": origin}, timeout=10)
        self._signer = Webhook(SECRET)
        self._told_up_to = 0
        self._outcomes: Counter[str] = Counter()

    def close(self) -> None:
        """Let go of what was opened."""
        self._web.close()
        self._engine.dispose()

    def settle(self, within_s: float = SETTLES_WITHIN_S) -> float:
        """Wait until nothing is on its way; how many seconds that took.

        Raises:
            Unsettled: something still is.
        """
        began_s = time.monotonic()
        self._wait(self._people_heard, within_s)
        for step in (
            self._unended,
            self._untaken,
            self._undecided,
            self._unrecorded,
            self._unpublished,
            self._undelivered,
        ):
            self._wait(step, within_s)
        self._wait(self._unseen, within_s)
        return time.monotonic() - began_s

    def faults(self) -> list[str]:
        """Everything that is wrong, once all has settled."""
        ends = self._town.ends.wrong
        places = (self._wrong_incidents, self._wrong_streams, self._wrong_deliveries, self._wrong_audit)
        # A busy machine may keep the broker from answering in time: each place may be looked at again.
        return [*ends, *(fault for place in places for fault in patiently(lambda: list(place())))]  # noqa: B023

    def counts(self) -> dict[str, int]:
        """What the broker counted."""
        counts = words(patiently(lambda: self._broker.hgetall(COUNTS)))
        return {word: int(number) for word, number in counts.items()}

    # What is on its way: each says what, or nothing where all is through.

    def _wait(self, step: Callable[[], str], within_s: float) -> None:
        deadline_s = time.monotonic() + within_s
        while missing := self._asked(step):
            if time.monotonic() > deadline_s:
                raise Unsettled(f"after {within_s:g} s: {missing}")
            time.sleep(0.1)

    def _asked(self, step: Callable[[], str]) -> str:
        try:
            return step()
        except (RedisError, DBAPIError, httpx.HTTPError) as error:
            return f"{step.__name__}: {error!r}"

    def _people_heard(self) -> str:
        self._people.settle()
        return ""

    def _unended(self) -> str:
        return "" if self._town.running() else "a service is on its way out or down"

    def _untaken(self) -> str:
        waiting = [str(each) for each in find_candidates(self._town.inbox, False)]
        claimed = claimed_files(self._town.inbox)
        rejected = Rejects(self._town.settings.rejected_dir).count()
        if waiting or claimed or rejected < len(self._street.bad):
            bad = len(self._street.bad)
            return f"inbox {len(waiting)}, claimed {len(claimed)}, {rejected} of {bad} rejected"
        return ""

    def _undecided(self) -> str:
        known = {incident["id"]: incident for incident in self._incidents()}
        missing = self._street.sent.keys() - known.keys()
        undecided = [name for name, incident in known.items() if incident["state"] != "decided"]
        leased = self._broker.zcard(LEASES)
        if missing or undecided or leased:
            return f"no incident of {sorted(missing)}; undecided {sorted(undecided)}; {leased} leases"
        return ""

    def _unrecorded(self) -> str:
        with Session(self._engine) as session:
            recorded = set(session.scalars(select(IncidentRecord.id)))
            answered = set(session.scalars(select(MoveRecord.move_id)))
        missing, unheard = self._street.sent.keys() - recorded, self._people.asked.keys() - answered
        return f"not recorded {sorted(missing)}; moves {sorted(unheard)}" if missing or unheard else ""

    def _unpublished(self) -> str:
        """The record against the boards and the web console, at one version of the record."""
        with Session(self._engine) as session:
            version = session.scalars(select(Ledger.version)).one()
            rows = rows_of(session, session.scalars(select(Case)).all())
        stands = int(self._broker.get(BOARD_VERSION) or 0)
        if stands != version:
            return f"the record is at {version}, the boards at {stands}"
        differing = []
        for department in (*self._routing.departments, REVIEW, ALL):
            should = {row["case"]: row for row in rows if is_open(row, department)}
            if {row["case"]: row for row in open_rows(self._broker, department).rows} != should:
                differing.append(department)
        if "web" in self._town.names:
            seen = {row["case"] for row in self._web_rows()}
            if seen != {row["case"] for row in rows if is_open(row, ALL)}:
                differing.append("web")
        return f"boards that differ from the record: {differing}" if differing else ""

    def _unseen(self) -> str:
        """The console that follows shows each revision once."""
        if "console" not in self._town.names:
            return ""
        lines = (self._town.folder / "console.out").read_text().split("\n")
        shown = Counter((each["incident_id"], each["revision"]) for each in map(_data_of, lines) if each)
        told = {(incident, revision) for _, incident, revision in self._told()}
        if set(shown) != told or set(shown.values()) - {1}:
            again = [pair for pair, times in shown.items() if times > 1]
            lacks, own = len(told - set(shown)), len(set(shown) - told)
            return f"the console lacks {lacks}, has {own} of its own, {again} twice"
        return ""

    def _undelivered(self) -> str:
        """Each dispatch came to the receiver of webhooks, under its own id."""
        missing = {each.event_id for each in self._dispatches()} - set(self._town.receiver.ids())
        return f"webhooks lack {len(missing)}: {sorted(missing)[:5]}" if missing else ""

    # What is wrong for good.

    def _wrong_incidents(self) -> Iterator[str]:
        incidents = self._incidents()
        ids = {incident["id"] for incident in incidents}
        if strangers := ids - self._street.sent.keys():
            yield f"incidents of no photograph: {sorted(strangers)}"
        numbers = Counter(each["number"] for each in incidents)
        if again := [number for number, times in numbers.items() if times > 1]:
            yield f"numbers given twice: {again}"
        rejected = sorted(each.name for each in Rejects(self._town.settings.rejected_dir).listing())
        if rejected != sorted(self._street.bad):
            yield f"rejected {set(rejected) ^ set(self._street.bad)} by mistake, or not, or twice"
        for incident in incidents:
            yield from self._wrong_incident(incident)

    def _wrong_incident(self, incident: dict[str, str]) -> Iterator[str]:
        sent = self._street.sent.get(incident["id"])
        if sent is None:
            return
        landings = self._street.landings[incident["id"]]
        if int(incident["seen_count"]) != landings:
            yield f"{incident['id']} was sent {landings} times and seen {incident['seen_count']} times"
        if incident.get("reason") == "quarantined":
            self.quarantined.add(incident["id"])
        elif self._knows(sent) and int(incident.get("revision", 1)) == 1:
            should = VERDICTS.get(sent.shows, "dispatched")
            right = should != "dispatched" or incident["situation"] == sent.shows
            if incident["verdict"] != should or not right:
                yield f"{incident['id']} shows {sent.shows} and is {incident['verdict']} {incident}"

    def _knows(self, sent: Sent) -> bool:
        """Whether it is known what the model sees in a photograph: the one of these tests, in a drawn one."""
        return bool(sent.shows) and self._town.engine == "colours"

    def _wrong_streams(self) -> Iterator[str]:
        incidents = self._incidents()  # before the streams: the desk may decide anew at any time
        told = self._told()
        if again := [each for each, times in told.items() if times > 1]:
            yield f"dispatched twice: {again}"
        reached: dict[str, set[str]] = {}
        first: dict[str, set[str]] = {}
        for department, incident, revision in told:
            reached.setdefault(incident, set()).add(department)
            if revision == 1:
                first.setdefault(incident, set()).add(department)
        for record in incidents:
            should = set(filter(None, record["departments"].split(",")))
            untouched = int(record.get("revision", 1)) == 1
            has = (first if untouched else reached).get(record["id"], set())
            if has != should if untouched else not should <= has:
                yield f"{record['id']} was to go to {sorted(should)} and went to {sorted(has)}"
        yield from self._wrong_outcomes()

    def _wrong_outcomes(self) -> Iterator[str]:
        while page := changes(self._broker, ALL, self._told_up_to):
            for change in page:
                self._outcomes.update(outcome["move_id"] for outcome in change.outcomes)
            self._told_up_to = page[-1].version
        if differing := set(self._outcomes) ^ self._people.asked.keys():
            yield f"moves without an outcome, or the reverse: {differing}"
        if again := [move for move, times in self._outcomes.items() if times > 1]:
            yield f"moves with two outcomes: {again}"
        with Session(self._engine) as session:
            for row in rows_of(session, session.scalars(select(Case)).all()):
                states = {part["state"] for part in row["assignments"]}
                if not states <= {state.value for state in AssignmentState}:
                    yield f"case {row['case']} has a state that is none: {states}"

    def _wrong_deliveries(self) -> Iterator[str]:
        """Whatever came to the receiver of webhooks is a dispatch, signed, and the same under one id."""
        bodies: dict[str, str] = {}
        for got in list(self._town.receiver.got):
            if bodies.setdefault(got.message_id, got.body) != got.body:
                yield f"webhooks delivered {got.message_id} in two forms"
            # Its own check of the time would refuse what a clock that jumped has signed.
            at = datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), UTC)
            if (
                self._signer.sign(got.message_id, at, got.body)
                not in got.headers["webhook-signature"].split()
            ):
                yield f"webhooks delivered {got.message_id} with a wrong signature"
        if strangers := bodies.keys() - {each.event_id for each in self._dispatches()}:
            yield f"webhooks delivered what is no dispatch: {sorted(strangers)}"

    def _wrong_audit(self) -> Iterator[str]:
        ran = self._town.run("audit", "--json")
        try:
            report = json.loads(ran.stdout)
        except ValueError:
            yield f"the audit failed: {ran.stdout} {ran.stderr}"
            return
        if not report["balanced"]:
            yield f"the audit finds {report['findings']}"

    # What the places say.

    def _incidents(self) -> list[dict[str, str]]:
        ids = all_ids(self._broker)
        found = []
        for begin in range(0, len(ids), PAGE):
            with self._broker.pipeline(transaction=False) as pipeline:
                for incident in ids[begin : begin + PAGE]:
                    pipeline.hgetall(incident_key(incident))
                found += [words(reply) for reply in pipeline.execute()]
        return found

    def _told(self) -> Counter[tuple[str, str, int]]:
        return Counter(
            (each.department, each.data["incident_id"], each.data["revision"]) for each in self._dispatches()
        )

    def _dispatches(self) -> Iterator[Dispatch]:
        for key in self._broker.scan_iter(match=DISPATCH_PREFIX + "*", _type="stream"):
            entries: Any = self._broker.xrange(key)
            yield from (Dispatch.decode(fields[b"event"]) for _, fields in entries)

    def _web_rows(self) -> list[dict[str, Any]]:
        answer = self._web.get("/api/cases")
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            words = {"name": "sol", "password": PASSWORD}
            self._web.post("/api/session", json=words).raise_for_status()
            answer = self._web.get("/api/cases")
        rows: list[dict[str, Any]] = answer.raise_for_status().json()["rows"]
        return rows


def _data_of(line: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(line)["data"]
    except (ValueError, KeyError):  # the last line, while it is written
        return {}
    return data
