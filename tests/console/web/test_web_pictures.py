import io
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from PIL import Image
from web_parts import FOREIGN_ID, WebRig

from shared.broker import Broker
from shared.errors import PermanentError, TransientError
from shared.settings import Settings


class Told:
    """An explainer that notes what it is asked.

    Attributes:
        asked: situations.
        fault: raised instead, once it is set.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fault: Exception | None = None

    def __call__(self, image_bytes: bytes, situation: str, model: str) -> bytes:
        if self.fault is not None:
            raise self.fault
        self.asked.append(situation)
        with Image.open(io.BytesIO(image_bytes)) as image:
            overlay = Image.new("RGBA", image.size, (255, 0, 0, 99))
        buffer = io.BytesIO()
        overlay.save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture
def explain() -> Told:
    """What says why."""
    return Told()


@pytest.fixture
def rig(settings: Settings, broker: Broker, explain: Told) -> Iterator[WebRig]:
    """A console with one user of each kind."""
    made = WebRig(settings, broker, explain=explain)
    made.add_everybody()
    with made.serving():
        yield made
    made.close()


def test_a_picture_is_a_plain_jpeg(rig: WebRig) -> None:
    """It is re-encoded, private, and of the one type that it says."""
    incident = rig.arrive("fire")
    answer = rig.client("ana").get(f"/api/incidents/{incident}/picture", params={"width_px": 320})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size, dict(image.getexif())) == ("JPEG", (96, 72), {})


def test_a_picture_that_the_browser_has_is_not_sent_again(rig: WebRig) -> None:
    """The browser asks each time, so that a user who lost the right is refused; bytes travel once."""
    incident = rig.arrive("fire")
    client = rig.client("ana")
    path = f"/api/incidents/{incident}/picture"
    tag = client.get(path).headers["etag"]
    again = client.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, params={"width_px": 1280}).headers["etag"] != tag
    refused = rig.client().get(path, headers={"If-None-Match": tag})
    assert refused.status_code == 401
    robbery = rig.arrive("robbery")
    theirs = rig.client("sol").get(f"/api/incidents/{robbery}/picture").headers["etag"]
    assert (
        client.get(f"/api/incidents/{robbery}/picture", headers={"If-None-Match": theirs}).status_code == 403
    )


@pytest.mark.parametrize("what", ["picture", "activation"])
def test_a_picture_is_its_departments_alone(rig: WebRig, explain: Told, what: str) -> None:
    """Another department's is 403, an unknown one 404, without a session 401; nothing is made of it."""
    incident = rig.arrive("robbery")

    def status(name: str, incident: str) -> int:
        path = f"/api/incidents/{incident}/{what}"
        return rig.client(name).get(path, params={"situation": "robbery"}).status_code

    assert status("ana", incident) == 403
    assert status("rita", incident) == 403
    assert status("", incident) == 401
    assert explain.asked == []
    assert status("sol", incident) == 200
    for forged in (FOREIGN_ID, "x", "..%2f..%2fetc%2fpasswd", incident.upper()):
        assert status("sol", forged) == 404


def test_every_view_is_logged_with_who_and_what(rig: WebRig) -> None:
    """User and incident stand in the log for each view, one from the browser's memory too."""
    incident, robbery = rig.arrive("fire"), rig.arrive("robbery")
    client = rig.client("ana")
    with structlog.testing.capture_logs() as lines:
        tag = client.get(f"/api/incidents/{incident}/picture").headers["etag"]
        client.get(f"/api/incidents/{incident}/picture", headers={"If-None-Match": tag})
        client.get(f"/api/incidents/{incident}/activation", params={"situation": "fire"})
        client.get(f"/api/incidents/{robbery}/picture")
    views = [(line["event"], line["user"], line["incident"]) for line in lines if "viewed" in line["event"]]
    assert views == [
        ("picture viewed", "ana", incident),
        ("picture viewed", "ana", incident),
        ("activation viewed", "ana", incident),
    ]


def test_refused_views_are_logged(rig: WebRig) -> None:
    """Who asks for a picture that is not theirs, or of an incident that is not there, stands in the log."""
    robbery = rig.arrive("robbery")
    with structlog.testing.capture_logs() as lines:
        for asked in (robbery, FOREIGN_ID):
            rig.client("ana").get(f"/api/incidents/{asked}/picture")
        rig.client("ana").get(f"/api/incidents/{robbery}/activation", params={"situation": "robbery"})
    refused = [
        (line["event"], line["user"], line["incident"], line["reason"])
        for line in lines  # the desk beside it says something now and then, too
        if "refused" in line["event"]
    ]
    assert refused == [
        ("picture refused", "ana", robbery, "not_yours"),
        ("picture refused", "ana", FOREIGN_ID, "unknown_id"),
        ("activation refused", "ana", robbery, "not_yours"),
    ]


def test_an_activation_is_laid_over_the_picture(rig: WebRig, explain: Told) -> None:
    """A PNG with transparency in the picture's proportions, for a class that the model has scored."""
    incident = rig.arrive("fire")
    client = rig.client("ana")
    path = f"/api/incidents/{incident}/activation"
    answer = client.get(path, params={"situation": "robbery"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.mode, image.size) == ("RGBA", (96, 72))
    assert explain.asked == ["robbery"]
    again = client.get(
        path, params={"situation": "robbery"}, headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304
    assert explain.asked == ["robbery"]
    assert client.get(path, params={"situation": "earthquake"}).json()["reason"] == "no_activation"
    assert client.get(path, params={"situation": "<script>"}).status_code == 422
    assert client.get(path).status_code == 422


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (PermanentError("can't", reason="unknown_class"), 404),
        (TransientError("busy"), 503),
        (OSError("?"), 500),
    ],
)
def test_a_map_that_cannot_be_made_is_told(rig: WebRig, explain: Told, fault: Exception, status: int) -> None:
    """What will never work, what may work later and what nobody foresaw have their statuses and our shape."""
    incident = rig.arrive("fire")
    explain.fault = fault
    answer = rig.client("ana").get(f"/api/incidents/{incident}/activation", params={"situation": "fire"})
    assert answer.status_code == status
    assert set(answer.json()) == {"reason", "message", "remedy"}
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"]


def test_a_picture_that_is_gone_is_told(rig: WebRig) -> None:
    """After its retention a picture is 404 with a plain message; a damaged one too."""
    gone, damaged, strange = (rig.arrive("fire") for _ in range(3))
    place = _place(rig, gone)
    rig.store.remove(place)
    (rig.settings.state_dir / "images" / _place(rig, damaged)).write_bytes(b"no picture")
    rig.change(strange, image="../../web.secret")
    for incident in (gone, damaged, strange):
        answer = rig.client("ana").get(f"/api/incidents/{incident}/picture")
        assert answer.status_code == 404
        assert answer.json()["message"] == "This picture can't be shown"


def _place(rig: WebRig, incident: str) -> str:
    row: Any = rig.client("sol").get(f"/api/cases/{incident}").json()["row"]
    place: str = row["incidents"][0]["image"]
    return place


def test_only_known_widths_are_made(rig: WebRig) -> None:
    """Nobody makes the server work by asking for widths without end."""
    incident = rig.arrive("fire")
    for width in ("321", "0", "-1", "100000", "x", ""):
        answer = rig.client("ana").get(f"/api/incidents/{incident}/picture", params={"width_px": width})
        assert answer.status_code == 422
