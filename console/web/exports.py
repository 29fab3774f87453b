"""History as files: CSV for spreadsheets, GeoJSON for maps. Written as it is read, however long it is."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from shared.board import AssignmentPart, Row
from shared.routing import REVIEW

COLUMNS = (
    "case",
    "numbers",
    "opened_at",
    "last_incident_at",
    "verdict",
    "situation",
    "unverified",
    "confidence",
    "latitude_deg",
    "longitude_deg",
    "incidents",
    "labels",
    "departments",
    "states",
    "holders",
    "dispatched_at",
    "acknowledged_at",
    "link",
)
_FORMULA = re.compile(r"""(^|[;,\t\r\n"]\s*)(?=[=+\-@＝＋－＠])|^(?=[\t\r])""")
"""Where a spreadsheet may see a formula begin. Also behind what separates cells elsewhere: one that is set to
Spanish takes semicolons for that, and quotes as they come."""
_BETWEEN = "; "


def neutral(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula. Numbers are numbers; texts may be anything."""
    return _FORMULA.sub(r"\1'", cell) if isinstance(cell, str) else cell


def as_csv(rows: Iterable[Row], base_url: str) -> Iterator[str]:
    """Lines: one for each case, what it has several of joined by semicolons in one order."""
    yield _line(COLUMNS)
    for row in rows:
        yield _line([neutral(cell) for cell in _cells(row, base_url)])


def as_geojson(rows: Iterable[Row], base_url: str, *, holders: bool = True) -> Iterator[str]:
    """A FeatureCollection: one point for each case, longitude first (RFC 7946).

    Args:
        rows: cases.
        base_url: of the web console, or empty.
        holders: whether to say who holds each.
    """
    yield '{"type":"FeatureCollection","features":['
    separator = ""
    for row in rows:
        yield separator + json.dumps(_feature(row, base_url, holders=holders), ensure_ascii=False)
        separator = ",\n"
    yield "]}\n"


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow(cells)
    return text.getvalue()


def _cells(row: Row, base_url: str) -> list[Any]:
    parts = _departments(row)
    incidents = row["incidents"]
    return [
        row["case"],
        _BETWEEN.join(each["number"] for each in incidents),
        row["opened_at"],
        row["last_incident_at"],
        row["verdict"],
        row["situation"] or "",
        "yes" if row["unverified"] else "",
        incidents[0]["confidence"] if incidents else "",
        row["latitude_deg"],
        row["longitude_deg"],
        row["incident_count"],
        _BETWEEN.join(each["label"] for each in incidents if each["label"]),
        *(
            _BETWEEN.join(part[word] for part in parts)
            for word in ("department", "state", "holder", "dispatched_at", "acknowledged_at")
        ),
        f"{base_url}/cases/{row['case']}",
    ]


def _feature(row: Row, base_url: str, *, holders: bool) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": row["case"],
        "geometry": {"type": "Point", "coordinates": [row["longitude_deg"], row["latitude_deg"]]},
        "properties": {
            "numbers": [each["number"] for each in row["incidents"]],
            "opened_at": row["opened_at"],
            "last_incident_at": row["last_incident_at"],
            "verdict": row["verdict"],
            "situation": row["situation"],
            "unverified": row["unverified"],
            "incidents": row["incident_count"],
            "labels": [each["label"] for each in row["incidents"] if each["label"]],
            "departments": {
                part["department"]: {
                    "state": part["state"],
                    **({"holder": part["holder"]} if holders else {}),
                    "dispatched_at": part["dispatched_at"],
                    "acknowledged_at": part["acknowledged_at"],
                }
                for part in _departments(row)
            },
            "link": f"{base_url}/cases/{row['case']}",
        },
    }


def _departments(row: Row) -> list[AssignmentPart]:
    return [part for part in row["assignments"] if part["department"] != REVIEW]
