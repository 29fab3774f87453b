import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import xmlschema
from conftest import wait_until
from limits import parse
from web_parts import FOREIGN_ID, PATIENCE_S, WebRig

import console.web.limits
import console.web.readers
from console.tokens import make_token, revoke_token
from console.users import remove_user
from deploy.cli import main
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.errors import ConfigError
from shared.settings import Settings
from shared.verdict import Verdict


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind."""
    made = WebRig(settings, broker)
    made.add_everybody()
    with made.serving():
        yield made
    made.close()


def bearer(rig: WebRig, token: str) -> httpx.Client:
    """A program with a token, and nothing else."""
    client = rig.client()
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def token_of(rig: WebRig, name: str = "vera") -> str:
    """A new token of a viewer."""
    return make_token(rig.settings.users_path, name)


def test_a_token_reads_the_open_cases_of_its_department(rig: WebRig) -> None:
    """As GeoJSON points, longitude first, and no other department's, nor who holds them."""
    place = Coordinates(latitude_deg=3.5, longitude_deg=-4.25)
    mine = rig.arrive("fire", place=place, label="<b>cam</b>")
    rig.arrive("robbery")
    rig.arrive("fire", verdict=Verdict.UNSURE)
    rig.read(mine)
    answer = bearer(rig, token_of(rig)).get("/api/feed.geojson")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/geo+json"
    found = answer.json()
    assert found["type"] == "FeatureCollection"
    [feature] = found["features"]
    assert (feature["type"], feature["id"]) == ("Feature", mine)
    assert feature["geometry"] == {"type": "Point", "coordinates": [-4.25, 3.5]}
    assert feature["properties"]["labels"] == ["<b>cam</b>"]
    assert set(feature["properties"]["departments"]) == {"firefighters", "transit-police"}
    assert "holder" not in json.dumps(feature)


def test_people_read_the_feed_with_their_session(rig: WebRig) -> None:
    """A supervisor sees all of it, a reviewer what waits for them, a stranger nothing."""
    fire, unsure = rig.arrive("fire"), rig.arrive("robbery", verdict=Verdict.UNSURE)
    rig.read(unsure)

    def cases(name: str) -> set[str]:
        features = rig.client(name).get("/api/feed.geojson").json()["features"]
        return {feature["id"] for feature in features}

    assert cases("sol") == {fire, unsure}
    assert cases("rita") == {unsure}
    assert cases("tomas") == {fire}
    refused = rig.client().get("/api/feed.geojson")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_an_unchanged_feed_is_not_sent_again(rig: WebRig) -> None:
    """With the tag of the last answer it is 304, until something opens."""
    rig.read(rig.arrive("fire"))
    client = bearer(rig, token_of(rig))
    first = client.get("/api/feed.geojson")
    known = {"If-None-Match": f'"other", W/{first.headers["ETag"]}'}
    again = client.get("/api/feed.geojson", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    rig.read(rig.arrive("fire"))
    assert client.get("/api/feed.geojson", headers=known).status_code == 200


def test_a_token_opens_nothing_else(rig: WebRig) -> None:
    """No page, picture, history or move; what reads alone takes it."""
    case = rig.arrive("fire")
    rig.read(case)
    client = bearer(rig, token_of(rig))
    for path in ("cases", f"cases/{case}", "setup", "session", "live", "history", "history.csv"):
        assert client.get(f"/api/{path}").status_code == 401, path
    assert client.get(f"/api/incidents/{case}/picture").status_code == 401
    assert rig.move(client, case, department="firefighters", action="acknowledge").status_code == 401
    assert client.get(f"/api/cases/{case}/cap").status_code == 200


@pytest.mark.parametrize("how", ["revoked", "renewed", "removed", "forged"])
def test_a_token_that_is_none_any_more_is_refused(rig: WebRig, how: str) -> None:
    """At once, in a server that runs."""
    path, token = rig.settings.users_path, token_of(rig)
    client = bearer(rig, token + "A" if how == "forged" else token)
    if how == "revoked":
        revoke_token(path, "vera")
    elif how == "renewed":
        token_of(rig)
    elif how == "removed":
        remove_user(path, "vera")
    answer = client.get("/api/feed.geojson")
    assert (answer.status_code, answer.json()["reason"]) == (401, "wrong_token")


def test_a_token_is_kept_as_a_hash_of_a_viewer_alone(rig: WebRig) -> None:
    """Neither in the file nor in what Python shows; who may do more than look has none."""
    token = token_of(rig)
    assert len(token) > 43
    assert token not in rig.settings.users_path.read_text()
    assert token not in repr(rig.users.find("vera"))
    for name in ("ana", "rita", "sol"):
        with pytest.raises(ConfigError, match="may do more than look"):
            make_token(rig.settings.users_path, name)
    with pytest.raises(ConfigError, match="there is no user"):
        make_token(rig.settings.users_path, "nobody")


def test_a_token_does_not_end_a_session(rig: WebRig) -> None:
    """Somebody who looks goes on looking while a program gets its token."""
    client = rig.client("vera")
    token_of(rig)
    assert client.get("/api/session").status_code == 200


def test_reads_and_guesses_are_limited(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks too often waits, whether they have a token or try one after the other."""
    few = console.web.limits.Allowance(parse("2/hour"), "Too many")
    monkeypatch.setattr(console.web.readers, "FEED", few)
    monkeypatch.setattr(console.web.readers, "TOKENS", few)
    rig.read(rig.arrive("fire"))
    for token, first in ((token_of(rig), 200), ("almenara_wrong", 401)):
        client = bearer(rig, token)
        statuses = [client.get("/api/feed.geojson").status_code for _ in range(3)]
        assert statuses == [first, first, 429]


def test_all_cases_together_have_one_limit(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has an address of its own, and whoever asks for one after the other waits all the same."""
    few = console.web.limits.Allowance(parse("2/hour"), "Too many")
    monkeypatch.setattr(console.web.readers, "FEED", few)
    client = bearer(rig, token_of(rig))
    paths = [f"/api/cases/{number:032x}/cap" for number in range(3)]
    assert [client.get(path).status_code for path in paths] == [404, 404, 429]
    assert client.get("/api/feed.geojson").status_code == 200  # another kind


def test_a_case_is_told_as_cap_to_those_whose_it_is(rig: WebRig) -> None:
    """Valid, from the console's own address; others' and what is not there is refused."""
    case, theirs = rig.arrive("fire"), rig.arrive("robbery")
    nothing = rig.arrive(None, verdict=Verdict.NO_EMERGENCY)
    client = bearer(rig, token_of(rig))
    answer = client.get(f"/api/cases/{case}/cap")
    assert answer.headers["Content-Type"] == "application/cap+xml; charset=utf-8"
    schema = xmlschema.XMLSchema(str(Path(__file__).parents[1] / "cap_rules.xsd"))
    schema.validate(answer.text)
    assert client.get(f"/api/cases/{theirs}/cap").status_code == 403
    assert client.get(f"/api/cases/{FOREIGN_ID}/cap").status_code == 404
    empty = rig.client("sol").get(f"/api/cases/{nothing}/cap")
    assert (empty.status_code, empty.json()["reason"]) == (404, "no_alert")


def test_a_token_is_made_and_taken_away_by_command(
    rig: WebRig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token stands alone on its line; `user list` says who has one."""
    monkeypatch.setenv("ALMENARA_USERS_FILE", str(rig.settings.users_path))
    assert main(["user", "token", "vera"]) == 0
    token = capsys.readouterr().out.strip()
    rig.read(rig.arrive("fire"))
    assert bearer(rig, token).get("/api/feed.geojson").status_code == 200
    assert main(["user", "list"]) == 0
    assert "vera   viewer; firefighters; has a token" in capsys.readouterr().out
    assert main(["user", "token", "vera", "--revoke"]) == 0
    wait_until(
        lambda: bearer(rig, token).get("/api/feed.geojson").status_code == 401,
        within_s=PATIENCE_S,
        what="it is worth nothing",
    )
    assert main(["user", "token", "ana"]) == 2
