"""A broker that Sentinels watch: its master is killed, and the work goes on with another."""

import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from conftest import make_photograph, wait_until
from redis.connection import SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import SentinelManagedConnection
from sentinel_parts import WatchedDeployment, server_name

import shared.sentinels
from ingest.admission import admit
from ingest.recent import Recent
from shared.broker import check, connect, is_broker_fault, patiently
from shared.errors import ConfigError
from shared.keys import incident_key
from shared.refusals import BrokerRefusesError
from shared.sentinels import is_watched
from shared.settings import Settings

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def watch() -> Iterator[WatchedDeployment]:
    """A master, two replicas and a Sentinel, for the tests of this file in their order."""
    made = WatchedDeployment()
    try:
        made.start_broker()
        yield made
    finally:
        made.close()


def test_the_url_leads_to_the_master(watch: WatchedDeployment) -> None:
    """Past a Sentinel that is away, with a password for the Sentinels and one for the servers."""
    settings = watch.settings_of("operator")
    with connect(settings) as client:
        assert check(client, settings)["tcp_port"] == watch.servers[0]
        assert is_watched(client)
    with watch.client("worker") as worker, worker.pubsub() as heard:  # as RQ listens for commands
        heard.subscribe("rq:pubsub:w")
        wait_until(lambda: heard.get_message(timeout=1), within_s=30, what="the subscription stands")


def test_what_is_wrong_with_the_sentinels_is_said_at_once(watch: WatchedDeployment) -> None:
    """Their password, a name that they don't know, and the servers' password are not waited for."""
    right = watch.settings_of("operator").redis_url
    for url, said in (
        (right.replace("sentinel_password=the", "sentinel_password=hunter2"), "Sentinels"),
        (right.replace("/city/", "/village/"), "village"),
        (watch.address("operator", "hunter2").redis_url, "does not let us in"),
    ):
        client = connect(Settings(redis_url=url))
        with client, pytest.raises(BrokerRefusesError, match=said) as caught:
            patiently(client.ping, sleep=lambda _: pytest.fail("it waited"))
        assert caught.value.remedy
        assert "hunter2" not in str(caught.value)


def test_services_go_on_when_the_master_dies(watch: WatchedDeployment) -> None:
    """Killed twice in a flood of photographs: each is decided, told once to each department, and recorded."""
    for service in ("ingest", "worker", "desk"):
        watch.start(service, service)
    seeds = iter(range(30))
    for turn in (1, 2):
        for _ in range(10):
            watch.drop(next(seeds))
        watch.wait_admitted(turn * 10 - 5, within_s=240)
        watch.fail_over()
    for seed in seeds:
        watch.drop(seed)
    watch.wait_decided(30, within_s=240)
    watch.assert_books_balance(30)
    assert watch.denials() == []
    for service in ("ingest", "worker", "desk"):
        assert watch.processes[service].poll() is None
        assert watch.stop(service) == 0


def test_what_no_replica_has_is_not_acknowledged(watch: WatchedDeployment) -> None:
    """A master with silent replicas would lose it with itself: the ingester keeps the file, asks again."""
    photographs = [("claim", make_photograph(9_999))]
    replicas = set(watch.servers) - {watch.master()}
    with watch.client("ingester") as client:
        for port in replicas:
            watch.signal(server_name(port), signal.SIGSTOP)
        with pytest.raises(RedisTimeoutError, match="replica") as caught:
            admit(client, photographs)
        assert is_broker_fault(caught.value)
        for port in replicas:
            watch.signal(server_name(port), signal.SIGCONT)
        assert patiently(partial(admit, client, photographs)) == ["already"]


def test_clients_leave_a_master_that_was_replaced_and_does_not_know_it(
    watch: WatchedDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives, and is told nothing: who writes goes to the new one at once, and who only reads follows soon.

    What the old one admitted after the other was promoted, confirmed by a third, is told to the new one.
    Found on a busy machine: an ingester that went on asking the old one had photographs wait for minutes.
    """
    before = watch.master()
    after, third = set(watch.servers) - {before}
    photographs, lost = [("claim-9997", make_photograph(9_997))], [("claim-9996", make_photograph(9_996))]
    key, lost_key = (incident_key(each[0][1].incident_id) for each in (photographs, lost))
    with watch.client("ingester") as ingester, watch.client() as reader:
        assert [check(reader, watch.settings)["tcp_port"] for _ in range(2)] == [before] * 2
        # Who writes finds it out by what it is told, not because it was about to ask.
        monkeypatch.setattr(shared.sentinels, "ASK_EVERY_S", 1e6)
        assert [check(ingester, watch.settings)["tcp_port"] for _ in range(2)] == [before] * 2
        # The third one confirms this, and the next master never hears of it.
        recent = Recent(ingester)
        led = recent.led()
        watch.promote(after)
        assert patiently(partial(admit, ingester, lost)) == ["admitted"]
        recent.note(lost, led)
        assert recent.tell_again() == 0
        watch.put_in_place(after, third)
        wait_until(lambda: watch.has_replicas(before, 0), within_s=60, what="the old one is alone")
        with pytest.raises(RedisConnectionError, match="replica") as caught:
            admit(ingester, photographs)
        assert is_broker_fault(caught.value)
        gives_up_at_s = time.monotonic() + 60
        outcomes = patiently(
            partial(admit, ingester, photographs), stop=lambda: time.monotonic() > gives_up_at_s
        )
        assert outcomes == ["admitted"]
        assert not ingester.exists(lost_key)
        assert recent.tell_again() == 1
        assert ingester.exists(lost_key)
        assert recent.tell_again() == 0
        # One that was the master before may be it again: its address does not tell, a new connection does.
        led = recent.led()
        ingester.connection_pool.disconnect()
        assert ingester.ping()
        assert recent.led() != led
        wait_until(lambda: reader.exists(key), within_s=60, what="who only reads has it from the new one")
    with watch.as_sentinel(before) as old:
        assert old.info("replication")["role"] == "master"


def test_without_any_replica_nothing_is_taken_in(watch: WatchedDeployment) -> None:
    """`min-replicas-to-write` has a master that is alone refuse, and refusing passes; so does being away."""
    with watch.client("ingester") as client:
        master = watch.master()
        for port in set(watch.servers) - {master}:
            watch.kill(server_name(port))
        with pytest.raises(Exception, match="replica") as caught:
            admit(client, [("claim", make_photograph(9_998))])
        assert is_broker_fault(caught.value)
        watch.kill(server_name(master))
        with pytest.raises(Exception) as away:
            client.ping()
    assert is_broker_fault(away.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://127.0.0.1:26379",
        "redis+sentinel://127.0.0.1:26379/",
        "redis+sentinel:///city/0",
        "redis+sentinel://:hunter2@127.0.0.1:26379/city/zero",
        "redis+sentinel://:hunter2@127.0.0.1:port/city/0",
    ],
)
def test_an_address_without_sentinels_or_master_is_refused(url: str) -> None:
    """With the name of the setting, and nothing of a password."""
    with pytest.raises(ConfigError, match="ALMENARA_REDIS_URL") as caught:
        connect(Settings(redis_url=url))
    assert "hunter2" not in str(caught.value)


def test_an_address_may_leave_out_what_is_usual() -> None:
    """The Sentinels' port, the database, and any password."""
    with connect(Settings(redis_url="redis+sentinel://a.example.org,[::1]:5000/city")) as client:
        manager: Any = client.connection_pool.sentinel_manager
        places = [each.connection_pool.connection_kwargs for each in manager.sentinels]
        assert [(each["host"], each["port"]) for each in places] == [("a.example.org", 26379), ("::1", 5000)]
        assert client.connection_pool.connection_kwargs["db"] == 0


def test_with_tls_a_master_is_left_too() -> None:
    """Connections with TLS are of the same kind."""
    for scheme, tls in (("redis", False), ("rediss", True)):
        with connect(Settings(redis_url=f"{scheme}+sentinel://a.example.org/city")) as client:
            made = client.connection_pool.make_connection()
            assert isinstance(made, SentinelManagedConnection)
            assert isinstance(made, SSLConnection) is tls
            assert type(made).read_response is not SentinelManagedConnection.read_response
