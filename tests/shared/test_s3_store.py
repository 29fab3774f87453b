"""The image store on S3: a real server process, real sockets."""

import hashlib
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from conftest import make_photograph, picture_bytes, wait_until
from ports import ReservedPort
from s3_parts import BUCKET, S3Server, silent_server

import shared.objects
from ingest.retention import prune
from shared.broker import Broker
from shared.errors import ConfigError
from shared.images import ImageMissingError, ImageStore, StoreAwayError
from shared.incidents import utc_now
from shared.objects import Objects

PAGE = 50
"""Files in one page of a listing, here; S3 has 1,000."""

pytest.importorskip("s3fs", reason="the extra s3 is not installed")
pytest.importorskip("moto.server", reason="moto's server is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """One S3 server for all of these tests, with a bucket."""
    made = S3Server(MOTO_S3_DEFAULT_MAX_KEYS=str(PAGE))
    made.make_bucket()
    yield made
    made.end()


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, as AWS_ variables name it."""
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def root() -> str:
    """A place in the bucket that no other test uses."""
    return f"{BUCKET}/{uuid.uuid4().hex}"


def put(store: ImageStore, seed: int) -> str:
    """Store a picture under its digest."""
    data = picture_bytes(seed)
    return store.put_picture(data, hashlib.sha256(data).hexdigest(), "jpeg")


def test_what_is_put_is_there_for_another_host_at_once(s3: S3Server, root: str) -> None:
    """Durable before the claim goes: the PUT has ended when `put_picture` returns, with no `sync` to come."""
    ours, theirs = ImageStore(f"s3://{root}"), ImageStore(f"s3://{root}")
    assert not ours.is_local
    assert list(theirs.pictures()) == []
    place = put(ours, 1)
    ours.put_sidecar(make_photograph(1))
    assert s3.client().cat_file(f"{root}/{place}") == picture_bytes(1)
    assert theirs.get(place) == picture_bytes(1)
    assert theirs.has(place)
    assert [found for found, _ in theirs.pictures()] == [place]
    assert [each for _, each in theirs.sidecars()] == [make_photograph(1, received_at=_received(theirs))]


def _received(store: ImageStore) -> str:
    [(_, photograph)] = store.sidecars()
    assert photograph is not None
    return photograph.received_at


def test_listings_go_on_after_a_page(s3: S3Server, root: str) -> None:
    """A list of S3 comes in pages: an audit that saw only the first would believe the rest lost."""
    client = s3.client()
    client.pipe({f"{root}/pictures/{n % 256:02x}/{n:064x}.jpeg": b"x" for n in range(PAGE + 10)})
    ages = [age_s for _, age_s in ImageStore(f"s3://{root}").pictures()]
    assert len(ages) == PAGE + 10
    assert all(-60 < age_s < 600 for age_s in ages)


def test_a_missing_picture_is_told_from_a_store_that_is_another(s3: S3Server, root: str) -> None:
    """One of many is missing; but where there is none at all, or no bucket, the store is away."""
    store = ImageStore(f"s3://{root}")
    with pytest.raises(StoreAwayError):
        store.get("pictures/00/none.jpeg")
    put(store, 1)
    with pytest.raises(ImageMissingError):
        store.get("pictures/00/none.jpeg")
    assert not store.has("pictures/00/none.jpeg")
    store.remove("pictures/00/none.jpeg")


def test_old_pictures_go_and_models_stay(s3: S3Server, root: str, broker: Broker) -> None:
    """Retention removes pictures and sidecars past it from S3, and nothing else."""
    store = ImageStore(f"s3://{root}")
    put(store, 1)
    store.put_sidecar(make_photograph(1, received_at="2020-01-01T00:00:00.000000Z"))
    store.put_model(b"weights", "ab" * 32)
    assert prune(broker, store, -1.0, utc_now() + timedelta(seconds=1)) == 1
    assert list(store.pictures()) == []
    assert list(store.sidecars()) == []
    assert list(store.models()) == ["ab" * 32]


def test_many_threads_share_a_store(s3: S3Server, root: str) -> None:
    """fsspec runs one loop for all threads; each gets its own bytes."""
    store = ImageStore(f"s3://{root}")
    wrong: list[int] = []

    def run(seed: int) -> None:
        if store.get(put(store, seed)) != picture_bytes(seed):
            wrong.append(seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(list(store.pictures())) == 16


def test_a_bucket_that_is_not_there_stops_the_start(s3: S3Server) -> None:
    """A service does not start with a misspelt bucket, and the remedy names the setting."""
    with pytest.raises(ConfigError, match="ALMENARA_IMAGE_STORE"):
        ImageStore("s3://photografs/city")


def test_without_a_key_nothing_starts(
    s3: S3Server, root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """No key is a person's fault to mend, not an outage to wait for."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        ImageStore(f"s3://{root}")


def test_a_key_that_is_refused_stops_the_start(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that S3 does not know is a person's fault too; its secret is not in the message."""
    strict = S3Server(INITIAL_NO_AUTH_ACTION_COUNT="1")
    try:
        strict.make_bucket()
        for name, value in strict.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-mine")
        with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID") as refused:
            ImageStore(f"s3://{root}")
        assert "a-secret-of-mine" not in str(refused.value)
    finally:
        strict.end()


def test_a_server_that_is_away_is_waited_for(
    s3: S3Server, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away at the start, or later, is no lost picture and no wrong setting: it passes."""
    store = ImageStore(f"s3://{root}")
    place = put(store, 1)
    with ReservedPort() as nobodys:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobodys.number}")
        away = ImageStore(f"s3://{root}")
        for use in (lambda: away.get(place), lambda: away.has(place), lambda: list(away.pictures())):
            with pytest.raises(StoreAwayError):
                use()
        with pytest.raises(StoreAwayError):
            put(away, 2)
    assert store.get(place) == picture_bytes(1)


@pytest.mark.parametrize("trickle", [False, True])
def test_a_server_that_hangs_does_not_hold_a_thread(
    s3: S3Server, root: str, monkeypatch: pytest.MonkeyPatch, trickle: bool
) -> None:
    """Connections that say nothing, or a byte now and then, end; those behind them fail at once."""
    with silent_server(trickle=trickle) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        objects = Objects(f"s3://{root}", read_s=0.3, deadline_s=1.0)
        # From now on a moment is long: it must not be over before we look, on however busy a machine.
        monkeypatch.setattr(shared.objects, "PAUSE_S", 600.0)
        wait_until(lambda: _error(objects) != "it did not answer a moment ago", within_s=60, what="one try")
        assert _error(objects) == "it did not answer a moment ago"


def _error(objects: Objects) -> str:
    with pytest.raises(OSError) as fault:
        objects.read("pictures/00/none.jpeg")
    return str(fault.value)
