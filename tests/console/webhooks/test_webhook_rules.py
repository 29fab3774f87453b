import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import make_entries
from standardwebhooks import Webhook as Verifier
from webhook_parts import OTHER_SECRET, SECRET, webhook, write_secret

from console.cap import CapSource
from console.webhooks.addresses import AddressRefusedError, addresses, is_refused
from console.webhooks.bodies import Bodies
from console.webhooks.fates import FEW_TRIES, MAX_TRIES, Answer, Fate, asked_s, fate_of, wait_s
from console.webhooks.hooks import Form, load_webhooks
from console.webhooks.posting import Poster
from console.webhooks.signing import Signer
from shared.dispatches import DispatchError
from shared.errors import ConfigError
from shared.routing import Routing
from shared.settings import Settings

NOW = datetime(2026, 11, 24, 10, 2, 3, tzinfo=UTC)
GOOD = """
[[webhook]]
name = "cad"
department = ["firefighters", "review"]
url = "https://cad.example.org/hooks"
secret_file = "cad.secret"
format = "cap"

[[webhook]]
name = "near"
department = "ambulance"
url = "http://127.0.0.1:9000/"
secret_file = "/etc/near.secret"
"""


@pytest.fixture(scope="module")
def routing() -> Routing:
    return Routing.load(Settings().routing)


def written(folder: Path, text: str) -> Path:
    """A webhooks file."""
    path = folder / "webhooks.toml"
    path.write_text(text)
    return path


def test_a_webhooks_file_is_read(tmp_path: Path, routing: Routing) -> None:
    """Secrets lie beside the file unless they are named from the root; the past is not sent."""
    cad, near = load_webhooks(written(tmp_path, GOOD), routing)
    assert (cad.departments, cad.form, cad.from_beginning) == (("firefighters", "review"), Form.CAP, False)
    assert (cad.secret_file, near.secret_file) == (tmp_path / "cad.secret", Path("/etc/near.secret"))


@pytest.mark.parametrize(
    ("find", "put", "fault"),
    [
        ('"cad"', '"Cad Server"', "small letters"),
        ('"near"', '"cad"', "two webhooks"),
        ('"ambulance"', '"ambulances"', "no department 'ambulances'"),
        ("https://cad", "http://cad", "is not https"),
        ("https://cad", "ftp://cad", "is not https"),
        ("https://cad", "https://u:p@cad", "has a password in it"),
        ('format = "cap"', 'format = "xml"', "format is not one of"),
        ('format = "cap"', 'start = "then"', "start is not one of"),
        ('format = "cap"', 'formats = "cap"', "'formats' is nothing"),
        ('secret_file = "cad.secret"', "", "secret_file is missing"),
        ('name = "cad"', "name = 7", "name is of the wrong kind"),
        ("[[webhook]]", "[cap]\nsender = 'a'\n[[webhook]]", "'cap'"),
    ],
)
def test_a_wrong_webhooks_file_is_refused(
    tmp_path: Path, routing: Routing, find: str, put: str, fault: str
) -> None:
    """What is wrong is named, and no password is shown."""
    assert find in GOOD
    with pytest.raises(ConfigError, match=r".") as caught:
        load_webhooks(written(tmp_path, GOOD.replace(find, put, 1)), routing)
    assert fault in str(caught.value)
    assert "u:p" not in str(caught.value)


def test_http_to_another_machine_must_be_wanted(tmp_path: Path, routing: Routing) -> None:
    """`insecure = true` says so."""
    text = GOOD.replace("https://cad", "http://cad").replace('format = "cap"', "insecure = true")
    assert load_webhooks(written(tmp_path, text), routing)[0].url.startswith("http://cad")


@pytest.mark.parametrize(
    ("answer", "tries", "fate"),
    [
        (Answer(status=200), 1, Fate.DELIVERED),
        (Answer(status=204), 1, Fate.DELIVERED),
        (Answer(status=410), 1, Fate.GONE),
        (Answer(status=500), MAX_TRIES - 1, Fate.LATER),
        (Answer(status=500), MAX_TRIES, Fate.DEAD),
        (Answer(status=429), FEW_TRIES, Fate.LATER),
        (Answer(status=404), FEW_TRIES - 1, Fate.LATER),
        (Answer(status=404), FEW_TRIES, Fate.DEAD),
        (Answer(status=302), FEW_TRIES, Fate.DEAD),
        (Answer(reason="timeout"), FEW_TRIES, Fate.LATER),
        (Answer(reason="tls"), MAX_TRIES, Fate.DEAD),
        (Answer(reason="address_refused"), FEW_TRIES, Fate.DEAD),
        (Answer(reason="bad_dispatch", final=True), 1, Fate.DEAD),
    ],
)
def test_a_try_has_one_fate(answer: Answer, tries: int, fate: Fate) -> None:
    """The receiver's faults are waited out for hours, ours for a few tries."""
    assert fate_of(answer, tries) is fate


def test_waits_grow_to_an_hour_and_heed_the_receiver() -> None:
    """Doubled each time, jittered, never sooner than asked, never longer than six hours."""
    plain = [wait_s(Answer(status=500), tries) for tries in range(1, MAX_TRIES)]
    assert 1.5 <= plain[0] <= 2.5
    assert max(plain) <= 3600 * 1.25
    assert 3.8 * 3600 < sum(plain) < 6.5 * 3600  # whatever the jitter
    assert wait_s(Answer(status=429, retry_after_s=90), 1) == 90
    assert wait_s(Answer(status=429, retry_after_s=1e9), 1) == 6 * 3600


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Tue, 24 Nov 2026 10:03:03 GMT", 60.0),
        ("Tue, 24 Nov 2020 10:03:03 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("9" * 40, None),
        ("Tue, 99 Nov 2026 10:03:03 GMT", None),
    ],
)
def test_retry_after_is_read(header: str, seconds: float | None) -> None:
    """As a number or a date; anything else says nothing."""
    assert asked_s(header, NOW) == seconds


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("fd00:ec2::254", True),
        ("::ffff:169.254.169.254", True),
        ("0.0.0.0", True),  # noqa: S104 - not listened on
        ("224.0.0.1", True),
        ("168.63.129.16", True),
        ("fd00:ec2::23", True),
        ("fd20:ce::254", True),
        ("fd00:c1::a9fe:a9fe", True),
        ("64:ff9b::a9fe:a9fe", True),
        ("64:ff9b::a83f:8110", True),
        ("2002:a9fe:a9fe::", True),
        ("::a9fe:a9fe", True),
        ("::", True),
        ("::1", False),
        ("64:ff9b::c000:207", False),
        ("2002:c000:207::1", False),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.0.2.7", False),
        ("2001:db8::1", False),
    ],
)
def test_what_no_webhook_has_a_reason_to_ask_is_refused(address: str, refused: bool) -> None:
    """A cloud's metadata, a network's own link, groups and nobody; a city's private networks are its own."""
    assert is_refused(address) is refused


def test_an_address_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """A url of the metadata service is an answer of its own, unless the operator wants it."""
    with pytest.raises(AddressRefusedError):
        asyncio.run(addresses("169.254.169.254", 80, allow_link_local=False))
    assert asyncio.run(addresses("169.254.169.254", 80, allow_link_local=True)) == ["169.254.169.254"]

    async def post() -> Answer:
        poster = Poster(webhook("http://169.254.169.254/latest", tmp_path))
        try:
            return await poster.post(b"{}", {})
        finally:
            await poster.close()

    assert asyncio.run(post()).word == "address_refused"


def test_a_signature_is_that_of_the_standard(tmp_path: Path) -> None:
    """Another library's verifier takes it; with two secrets either does."""
    path = tmp_path / "secret"
    write_secret(path, SECRET, OTHER_SECRET)
    now = datetime.now(UTC)
    headers = Signer(path).headers("id-1", '{"a": "ñ"}', now)
    for secret in (SECRET, OTHER_SECRET):
        assert Verifier(secret).verify('{"a": "ñ"}', headers) == {"a": "ñ"}
    with pytest.raises(Exception, match="No matching signature"):
        Verifier(SECRET).verify('{"a": "n"}', headers)


@pytest.mark.parametrize(
    ("lines", "mode", "reason"),
    [
        ([SECRET], 0o640, "secret_open"),
        ([], 0o600, "bad_secret"),
        ([SECRET] * 3, 0o600, "bad_secret"),
        (["whsec_c2hvcnQ="], 0o600, "bad_secret"),
        ([SECRET.removeprefix("whsec_")], 0o600, "bad_secret"),
        (["whsec_not base64 at all, and rather long"], 0o600, "bad_secret"),
    ],
)
def test_a_secret_that_is_none_is_refused_unseen(
    tmp_path: Path, lines: list[str], mode: int, reason: str
) -> None:
    """The error names the file, and nothing that is in it."""
    path = tmp_path / "file"
    write_secret(path, *lines)
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        Signer(path)
    assert caught.value.reason == reason
    assert not any(line.removeprefix("whsec_")[:8] in str(caught.value) for line in lines)
    assert caught.value.__cause__ is None


def test_a_secret_that_is_spoilt_while_it_runs_leaves_the_old_one(tmp_path: Path) -> None:
    """Half of a change must not stop what goes out."""
    path = tmp_path / "secret"
    write_secret(path, SECRET)
    signer = Signer(path)
    before = signer.headers("id", "body", NOW)
    write_secret(path, "nothing")
    assert signer.headers("id", "body", NOW) == before


@pytest.mark.parametrize("wrong", ["a\nb", "ñ", 7, None])
def test_an_id_that_no_header_holds_is_no_dispatch(routing: Routing, wrong: object) -> None:
    """Whoever could write the stream must not write headers."""
    record = json.loads(dict(make_entries(1, situation="fire"))["firefighters"]) | {"id": wrong}
    bodies = Bodies(routing, CapSource(sender="x"), None)
    with pytest.raises(DispatchError):
        bodies.of(json.dumps(record).encode(), Form.CLOUDEVENTS)
