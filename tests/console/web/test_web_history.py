import csv
import io
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from database_parts import postgresql_cluster, postgresql_url
from sqlalchemy.orm import Session
from web_parts import WebRig

import console.web.history
from console.records import WRITES
from console.tables import Assignment, Case, IncidentRecord, TimelineEntry
from console.web.exports import neutral
from shared.broker import Broker
from shared.coordinates import EARTH_RADIUS_M, Coordinates
from shared.incidents import iso
from shared.settings import Settings
from shared.verdict import Verdict

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Path]:
    """A PostgreSQL for the module."""
    with postgresql_cluster() as folder:
        yield folder


@pytest.fixture(params=["sqlite", "postgresql"])
def stopped(request: pytest.FixtureRequest, settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind, on a record of either kind, that does not serve yet."""
    if request.param == "postgresql":
        url = postgresql_url(request.getfixturevalue("postgresql"))
        settings = settings.override(database_url=url)
    made = WebRig(settings, broker)
    made.add_everybody()
    yield made
    made.close()


@pytest.fixture
def rig(stopped: WebRig) -> Iterator[WebRig]:
    """The same, served."""
    with stopped.serving():
        yield stopped


def record(
    rig: WebRig,
    number: int,
    *,
    situation: str | None = "fire",
    departments: dict[str, float | None] | None = None,
    opened_at: datetime = NOON,
    verdict: Verdict = Verdict.DISPATCHED,
    place: Coordinates | None = None,
    label: str = "cam 7",
    note: str = "",
    merged_into: str | None = None,
) -> str:
    """A case in the record, as the desk would have left it; its id.

    Args:
        departments: word -> seconds to its acknowledgement, None for none.
    """
    case_id = f"{number:032x}"
    place = place or Coordinates(latitude_deg=10.0 + number, longitude_deg=20.0)
    where = {"latitude_deg": place.latitude_deg, "longitude_deg": place.longitude_deg}
    about: dict[str, Any] = {"verdict": verdict.value, "situation": situation}
    with Session(rig.engine.execution_options(**WRITES)) as session:
        session.add(
            Case(
                id=case_id,
                opened_at=opened_at,
                last_incident_at=opened_at,
                merged_into=merged_into,
                version=number,
                unverified=False,
                **about,
                **where,
            )
        )
        session.flush()
        session.add(
            IncidentRecord(
                id=case_id,
                case_id=case_id,
                version=number,
                joined_at=opened_at,
                number=f"{number:04d}",
                confidence=0.8,
                scores={"fire": 0.8},
                label=label,
                note="",
                image="pictures/aa/" + "a" * 64 + ".jpeg",
                model="m",
                reason="",
                detail="",
                received_at=opened_at,
                decided_at=opened_at,
                seen_count=1,
                last_seen_at=opened_at,
                revision=1,
                decided_by="",
                **about,
                **where,
            )
        )
        for department, taken_s in ({"firefighters": None} if departments is None else departments).items():
            session.add(
                Assignment(
                    case_id=case_id,
                    department=department,
                    state="dispatched" if taken_s is None else "closed",
                    dispatched_at=opened_at,
                    state_at=opened_at,
                    acknowledged_at=None if taken_s is None else opened_at + timedelta(seconds=taken_s),
                    holder="",
                    repeats=0,
                    fallback_of="",
                    fell_back=False,
                )
            )
        if note:
            session.add(
                TimelineEntry(
                    case_id=case_id, at=opened_at, actor="ana", action="note", text=note, department=""
                )
            )
        session.commit()
    return case_id


def found(rig: WebRig, name: str = "sol", **filters: Any) -> list[int]:
    """Numbers of the cases that a search finds."""
    answer = rig.client(name).get("/api/history", params=filters)
    assert answer.status_code == 200, answer.text
    return [int(row["case"], 16) for row in answer.json()["cases"]]


def test_history_is_newest_first_and_in_pages(rig: WebRig) -> None:
    """Every case comes once, whatever the page size; the total counts them all."""
    for number in range(1, 8):
        record(rig, number, opened_at=NOON + timedelta(minutes=number // 2))
    pages = [found(rig, page=page, page_size=3) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert [number for page in pages for number in page] == [7, 6, 5, 4, 3, 2, 1]
    assert rig.client("sol").get("/api/history", params={"page_size": 3}).json()["total"] == 7


def test_filters_find_what_they_say(rig: WebRig) -> None:
    """Time, situation, department, verdict, number and text, alone and together."""
    record(rig, 1, opened_at=NOON)
    record(rig, 2, situation="robbery", departments={"police-department": None}, opened_at=NOON)
    record(rig, 3, opened_at=NOON + timedelta(days=1), label="Puente 50% ñ", departments={"ambulance": None})
    record(
        rig, 4, verdict=Verdict.UNSURE, situation=None, departments={"review": None}, note="a LADDER is there"
    )
    assert found(rig, situation="robbery") == [2]
    assert found(rig, department="ambulance") == [3]
    assert found(rig, verdict="unsure") == [4]
    assert found(rig, since=iso(NOON + timedelta(seconds=1))) == [3]
    assert found(rig, until=iso(NOON + timedelta(seconds=1)), situation="fire") == [1]
    assert found(rig, until=iso(NOON)) == []
    assert found(rig, since="2026-11-25T13:00:00+01:00") == [3]
    assert found(rig, number="2") == found(rig, number="0002") == [2]
    assert found(rig, text="ladder") == [4]
    assert found(rig, text="50% Ñ"[:3]) == [3]
    assert found(rig, text="%") == [3]
    assert found(rig, text="_") == []
    assert found(rig, text="'; DROP TABLE cases; --") == []


def test_a_place_is_searched_in_a_circle(rig: WebRig) -> None:
    """What is in the box but not in the circle is not found; the antimeridian and a pole are no edges."""
    per_m = math.degrees(1 / EARTH_RADIUS_M)  # degrees at the equator

    def place(north_m: float, east_m: float) -> Coordinates:
        """From 300 m before the antimeridian."""
        longitude_deg = 180 + (east_m - 300) * per_m
        return Coordinates(
            latitude_deg=north_m * per_m, longitude_deg=longitude_deg - (360 if longitude_deg > 180 else 0)
        )

    record(rig, 1, place=place(0, 900))
    record(rig, 2, place=place(800, 800))
    record(rig, 3, place=place(0, -900))
    record(rig, 4, place=Coordinates(latitude_deg=89.999, longitude_deg=10))
    record(rig, 5, place=Coordinates(latitude_deg=0, longitude_deg=0))
    where = f"0,{180 - 300 * per_m:.9f}"
    assert sorted(found(rig, place=where, radius_m=1000)) == [1, 3]
    assert sorted(found(rig, place=where, radius_m=1200)) == [1, 2, 3]
    assert found(rig, place="90,-170", radius_m=200) == [4]
    assert found(rig, place=where, radius_m=1200, page=2, page_size=2) == [1]
    assert (
        rig.client("sol").get("/api/history", params={"place": where, "radius_m": 1200}).json()["total"] == 3
    )


def test_history_is_limited_to_who_asks(rig: WebRig) -> None:
    """A department finds its cases, a reviewer what is for review or no emergency, a supervisor all."""
    record(rig, 1)
    record(rig, 2, situation="robbery", departments={"police-department": None})
    record(rig, 3, verdict=Verdict.UNSURE, departments={"review": None})
    record(rig, 4, verdict=Verdict.NO_EMERGENCY, situation=None, departments={})
    record(rig, 5, merged_into=f"{1:032x}")
    rig.add_user("todo", "viewer", departments=["all"])
    assert sorted(found(rig, "ana")) == [1]
    assert sorted(found(rig, "rita")) == [3, 4]
    assert sorted(found(rig, "todo")) == [1, 2]
    assert sorted(found(rig, "sol")) == [1, 2, 3, 4]
    assert found(rig, "ana", department="police-department") == []
    for kind in ("csv", "geojson"):
        text = rig.client("ana").get(f"/api/history.{kind}").text
        assert f"{1:032x}" in text
        assert f"{2:032x}" not in text
    assert rig.client("ana").get("/api/history/summary").json()["by_situation"] == {"fire": 1}


def test_history_and_case_pages_agree_on_who_sees_what(rig: WebRig) -> None:
    """What a user finds is just what they may open: the rule is written for the record and for rows."""
    kinds: list[tuple[Verdict, dict[str, float | None]]] = [
        (Verdict.DISPATCHED, {"firefighters": None, "transit-police": 9.0}),
        (Verdict.DISPATCHED, {"police-department": None}),
        (Verdict.DISPATCHED, {"firefighters": 1.0, "review": 2.0}),
        (Verdict.UNSURE, {"review": None}),
        (Verdict.UNSURE, {"review": None, "ambulance": None}),
        (Verdict.NO_EMERGENCY, {"review": 3.0}),
        (Verdict.NO_EMERGENCY, {}),
    ]
    numbers = range(1, len(kinds) + 1)
    for number, (verdict, departments) in zip(numbers, kinds, strict=True):
        record(rig, number, verdict=verdict, departments=departments)
    rig.add_user("all", "viewer", departments=["all"])
    rig.add_user("both", "reviewer", "operator", departments=["ambulance"])
    for name in ("ana", "tomas", "vera", "rita", "sol", "all", "both"):
        client = rig.client(name)
        opens = {n for n in numbers if client.get(f"/api/cases/{n:032x}").status_code == 200}
        assert set(found(rig, name)) == opens, name


@pytest.mark.parametrize(
    "filters",
    [
        {"place": "91,0"},
        {"place": "0,181"},
        {"place": "nan,0"},
        {"place": "here"},
        {"radius_m": "0"},
        {"radius_m": "inf"},
        {"page": "0"},
        {"page_size": "201"},
        {"page": "9" * 30},
        {"since": "yesterday"},
        {"verdict": "maybe"},
        {"number": "1 OR 1=1"},
        {"text": "x" * 101},
        {"situation": "Fire!"},
    ],
)
def test_a_filter_that_makes_no_sense_is_told(rig: WebRig, filters: dict[str, str]) -> None:
    """422 with the name of the filter, on every address of the history."""
    for path in ("", ".csv", ".geojson", "/summary"):
        if "page" in "".join(filters) and path:
            continue
        answer = rig.client("sol").get(f"/api/history{path}", params=filters)
        assert answer.status_code == 422
        assert answer.json()["message"].startswith(next(iter(filters)))


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-11-24"])
def test_any_date_can_be_asked_for(rig: WebRig, since: str) -> None:
    """The ends of the calendar are dates too."""
    record(rig, 1)
    assert found(rig, since=since) in ([], [1])


def test_csv_has_a_line_a_case_and_no_formula(rig: WebRig) -> None:
    """Read back, each case is there with its place as numbers; no text is what a spreadsheet would run."""
    record(
        rig, 1, label='=HYPERLINK("http://evil")', place=Coordinates(latitude_deg=-33.5, longitude_deg=-70.25)
    )
    record(rig, 2, label='ñandú, "quoted"\n;', departments={"firefighters": 30.0, "ambulance": None})
    answer = rig.client("sol").get("/api/history.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    second, first = csv.DictReader(io.StringIO(answer.content.decode("utf-8"), newline=""))
    assert first["labels"] == '\'=HYPERLINK("http://evil")'
    assert (float(first["latitude_deg"]), float(first["longitude_deg"])) == (-33.5, -70.25)
    assert second["labels"] == 'ñandú, "quoted"\n;'
    assert second["departments"] == "ambulance; firefighters"
    assert second["acknowledged_at"] == f"; {iso(NOON + timedelta(seconds=30))}"
    assert second["link"] == f"/cases/{2:032x}"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "＝1+1", "＋1", "－1", "＠SUM(A1)"]
)
def test_dangerous_cells_are_neutralised(text: str) -> None:
    """A leading apostrophe makes a formula a text; other texts and numbers stay."""
    assert neutral(text) == f"'{text}"
    assert neutral(f"a{text}") == f"a{text}"
    assert neutral(-1.5) == -1.5


@pytest.mark.parametrize("sign", list("=+-@＝＋－＠"))
@pytest.mark.parametrize("before", [";", ",", "\t", '"', "\n", "\r", "; ", '";'])
def test_no_formula_begins_inside_a_cell(before: str, sign: str) -> None:
    """Where a spreadsheet takes something else for the end of a cell, what follows is a text as well."""
    assert neutral(f"a{before}{sign}1") == f"a{before}'{sign}1"
    assert neutral(f"a{before}b{sign}1") == f"a{before}b{sign}1"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONE])
def test_no_cell_is_a_formula_however_the_file_is_read(rig: WebRig, delimiter: str, quoting: Any) -> None:
    """Split at commas, semicolons or tabs, with quotes or without: only numbers begin like a formula."""
    for number, label in enumerate(("a;=1+1", "a\t=1+1", 'a"=1+1', "a,=1+1", "＝1+1", "-1;-1", 'a";=1+1'), 1):
        record(rig, number, label=label, place=Coordinates(latitude_deg=-33.5, longitude_deg=-99.13))
    text = rig.client("sol").get("/api/history.csv").text
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting))
    cells = [cell.strip().strip('"') for line in lines for cell in line]
    dangerous = {cell for cell in cells if cell.startswith(tuple("=+-@＝＋－＠"))}
    assert dangerous <= {"-33.5", "-99.13"}
    assert text.count('"-33.5","-99.13"') == 7


def test_geojson_has_longitude_first(rig: WebRig) -> None:
    """Points as RFC 7946 wants them, with what maps show beside."""
    record(rig, 1, place=Coordinates(latitude_deg=-33.5, longitude_deg=-70.25), label="</script>")
    answer = rig.client("sol").get("/api/history.geojson")
    assert answer.headers["content-type"] == "application/geo+json"
    (feature,) = json.loads(answer.text)["features"]
    assert feature["geometry"] == {"type": "Point", "coordinates": [-70.25, -33.5]}
    assert feature["properties"]["departments"]["firefighters"]["state"] == "dispatched"
    assert feature["properties"]["labels"] == ["</script>"]


def test_exports_have_everything(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """More cases than are read at once all come, once, in order; near a place too."""
    monkeypatch.setattr(console.web.history, "PAGE", 3)
    here = Coordinates(latitude_deg=1.0, longitude_deg=1.0)
    for number in range(1, 12):
        record(rig, number, opened_at=NOON + timedelta(minutes=number // 4), place=here)
    for filters in ({}, {"place": "1,1"}):
        features = rig.client("sol").get("/api/history.geojson", params=filters).json()["features"]
        assert [int(each["id"], 16) for each in features] == list(range(11, 0, -1))


def test_an_empty_history_is_whole(rig: WebRig) -> None:
    """Nothing found is an answer, not an error, in every form."""
    client = rig.client("sol")
    assert client.get("/api/history").json() == {"total": 0, "page": 1, "cases": []}
    assert client.get("/api/history.geojson").json() == {"type": "FeatureCollection", "features": []}
    assert len(client.get("/api/history.csv").text.splitlines()) == 1
    summary = client.get("/api/history/summary").json()
    assert summary == {"by_situation": {}, "by_day": [], "acknowledge_s": {}, "verdicts": {}}


def test_the_summary_counts_and_times(rig: WebRig) -> None:
    """Cases by situation, day and verdict; median and ninth decile of the times to acknowledge."""
    for number, taken_s in enumerate((10.0, 20.0, 30.0, 40.0, 100.0), start=1):
        opened_at = NOON + timedelta(days=number // 4)
        record(rig, number, departments={"firefighters": taken_s, "ambulance": None}, opened_at=opened_at)
    record(rig, 9, situation=None, verdict=Verdict.UNSURE, departments={"review": 5.0})
    record(rig, 10, situation=None, verdict=Verdict.NO_EMERGENCY, departments={})
    summary = rig.client("sol").get("/api/history/summary").json()
    assert summary["by_situation"] == {"fire": 5, "": 1, "normal": 1}
    assert summary["by_day"] == [{"day": "2026-11-24", "count": 5}, {"day": "2026-11-25", "count": 2}]
    assert summary["verdicts"] == {"dispatched": 5, "unsure": 1, "no_emergency": 1}
    assert summary["acknowledge_s"] == {"firefighters": {"count": 5, "median": 30.0, "p90": 100.0}}


def test_history_is_only_read(stopped: WebRig) -> None:
    """It works on a connection to the record that cannot write, as the console is given."""
    record(stopped, 1)
    stopped.read_only()
    with stopped.serving():
        for path in ("", "/summary", ".csv", ".geojson"):
            assert stopped.client("sol").get(f"/api/history{path}").status_code == 200
