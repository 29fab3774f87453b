"""What each role may do of the broker: the table of rights, and what the broker itself answers."""

import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from acl_parts import ROLES, Server
from redis.exceptions import AuthenticationError, NoPermissionError

import shared.keys
from deploy.rights import COLUMNS, Key, column_of, keys
from shared.broker import connect
from shared.settings import Settings


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """One for all tests of this file."""
    with Server.started() as made:
        yield made


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """That one, with nothing in it, whatever a test has left there."""
    running.root.flushall()
    yield running
    running.root.flushall()


PROBES: dict[tuple[str, str], list[tuple[str, ...]]] = {
    ("string", "r"): [("GET", "?")],
    ("string", "w"): [("SET", "?", "1"), ("DEL", "?")],
    ("hash", "r"): [("HGETALL", "?"), ("HGET", "?", "f")],
    ("hash", "m"): [("HLEN", "?")],
    ("hash", "c"): [("HINCRBY", "?", "f", "1")],
    ("hash", "w"): [("HSET", "?", "f", "1"), ("HDEL", "?", "f"), ("DEL", "?")],
    ("set", "r"): [("SMEMBERS", "?")],
    ("set", "w"): [("SADD", "?", "1"), ("SREM", "?", "1"), ("DEL", "?")],
    ("zset", "r"): [("ZRANGE", "?", "0", "-1")],
    ("zset", "m"): [("ZCARD", "?")],
    ("zset", "w"): [("ZADD", "?", "1", "1"), ("ZREM", "?", "1"), ("DEL", "?")],
    ("list", "r"): [("LRANGE", "?", "0", "-1")],
    ("list", "m"): [("LLEN", "?")],
    ("list", "a"): [("RPUSH", "?", "1")],
    ("list", "w"): [("LPOP", "?"), ("LREM", "?", "0", "1"), ("DEL", "?")],
    ("stream", "r"): [("XRANGE", "?", "-", "+"), ("XREAD", "STREAMS", "?", "0")],
    ("stream", "m"): [("XLEN", "?"), ("XINFO", "GROUPS", "?")],
    ("stream", "a"): [("XADD", "?", "*", "f", "1")],
    ("stream", "t"): [("XTRIM", "?", "MAXLEN", "0")],
    ("stream", "g"): [("XREADGROUP", "GROUP", "g", "c", "STREAMS", "?", ">"), ("XACK", "?", "g", "1-0")],
    ("stream", "x"): [("XGROUP", "DESTROY", "?", "g")],
    ("stream", "d"): [("DEL", "?")],
    ("stream", "w"): [("XDEL", "?", "1-0")],
}
INCLUDED = {"r": "m", "c": "rm", "g": "rmx", "w": "rmactd", "d": "", "a": "", "t": "", "m": "", "x": ""}
"""What a right of the table brings along."""


def samples(role: str) -> Iterator[tuple[Key, str]]:
    """Every kind of key there is: of a console its own department's, and another's."""
    _, own = column_of(role)
    for key in keys():
        yield key, key.sample(own if own != "*" else "firefighters")
        if "<department>" in key.name and own != "*":
            yield key, key.sample("police-force")


def by_table(role: str, kind: str, sample: str) -> set[str]:
    """The rights that the table gives, of rows of any name that this key has."""
    column, own = column_of(role)
    rows = [key for key in keys() if key.kind == kind and fnmatch.fnmatchcase(sample, key.pattern(own))]
    given = {right for row in rows for right in row.rights[column]}
    given |= {more for right in given for more in INCLUDED[right]}
    return {right for right in given if (kind, right) in PROBES}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_the_rights_of_the_table_and_no_other(server: Server, role: str) -> None:
    """For every key and every kind of right the broker's own answer is the table's."""
    for key, sample in samples(role):
        given = by_table(role, key.kind, sample)
        for (kind, right), probes in PROBES.items():
            if kind != key.kind:
                continue
            for probe in probes:
                command = [sample if word == "?" else word for word in probe]
                allowed = server.may(role, *command)
                assert allowed == (right in given), f"{role}: {' '.join(command)} is {allowed}"


FORBIDDEN = """
FLUSHALL, FLUSHDB, KEYS *, CONFIG SET dir /, CONFIG REWRITE, DEBUG SLEEP 1, MONITOR, SHUTDOWN,
REPLICAOF NO ONE, SLAVEOF NO ONE, FAILOVER, SWAPDB 0 1, SAVE, BGSAVE, BGREWRITEAOF,
ACL SETUSER x on, ACL DELUSER x, ACL SAVE,
ACL GETUSER web, ACL GENPASS, MODULE LIST, MODULE LOAD /x, FUNCTION LIST, FUNCTION FLUSH, FUNCTION LOAD x,
SCRIPT FLUSH, CLIENT UNPAUSE, CLIENT PAUSE 1, CLUSTER INFO,
PSYNC ? -1, SYNC, REPLCONF ack 1, RANDOMKEY, LATENCY RESET, MEMORY PURGE, SLOWLOG RESET,
PSUBSCRIBE *, PUBSUB CHANNELS,
COPY a b, MOVE a 1, RENAME a b, DUMP a, RESTORE a 0 x, MIGRATE h 1 a 0 1, SORT a, OBJECT ENCODING a,
SETBIT a 1 1, APPEND a x, GETDEL a, FCALL x 0
""".replace("\n", " ").split(",")
OPERATORS_ALONE = [
    "ACL LIST",
    "ACL LOAD",
    "ACL LOG",
    "CONFIG GET maxmemory",
    "CLIENT LIST",
    "SLOWLOG GET",
    "DBSIZE",
]
OPERATORS_ALONE += ["PUBLISH rq:pubsub:w stop", "CLIENT KILL USER web", "SCRIPT KILL"]


@pytest.mark.parametrize("role", ROLES)
def test_nobody_may_command_the_server(server: Server, role: str) -> None:
    """Nothing that destroys, takes over or spies is anybody's; looking at it is an operator's alone."""
    assert [command for command in FORBIDDEN if server.may(role, *command.split())] == []
    looking = [command for command in OPERATORS_ALONE if server.may(role, *command.split())]
    assert looking == (OPERATORS_ALONE if role == "operator" else [])
    assert server.may(role, "CLIENT", "NO-EVICT", "ON") == (role == "desk")


def test_who_may_run_scripts_and_see_the_names_of_keys(server: Server) -> None:
    """Ingester, worker, desk and operator run scripts; KEDA asks for one length; nobody else does."""
    assert [role for role in ROLES if server.may(role, "EVALSHA", "0" * 40, "0")] == [
        "ingester", "worker", "desk", "operator",
    ]  # fmt: skip
    assert [role for role in ROLES if server.may(role, "EVAL", "return 1", "0")] == ["metrics"]
    assert [role for role in ROLES if server.may(role, "EVAL", "return 1", "1", "rq:job:1")] == []
    assert [role for role in ROLES if server.may(role, "SCAN", "0")] == ["ingester", "operator"]
    assert [role for role in ROLES if server.may(role, "SUBSCRIBE", "rq:pubsub:x")] == ["worker", "operator"][
        :1
    ]
    assert not server.may("worker", "SUBSCRIBE", "__keyspace@0__:x")


REFUSED = [
    ("console-firefighters", "XRANGE dispatch:ambulance - +"),
    ("console-firefighters", "XRANGE board:ambulance - +"),
    ("console-firefighters", "XRANGE board:all - +"),
    ("console-firefighters", "HGETALL open:all"),
    ("console-firefighters", "XRANGE moves:firefighters - +"),
    ("console-firefighters", "XADD moves:ambulance * move x"),
    ("console-firefighters", "XADD dispatch:firefighters * event x"),
    ("console-firefighters", "XTRIM moves:firefighters MAXLEN 0"),
    ("console-firefighters", "XREAD STREAMS dispatch:firefighters dispatch:ambulance 0 0"),
    ("console-firefighters", "HSET almenara:incident:1 verdict fire"),
    ("console-firefighters", "HGETALL almenara:incident:1"),
    ("console-firefighters", "HINCRBY almenara:counts dispatched 1"),
    ("console-firefighters", "ZADD almenara:lease 1 1:1"),
    ("console-firefighters", "SET almenara:board 9"),
    ("console-firefighters", "HSET open:firefighters case row"),
    ("console-firefighters", "RPUSH rq:queue:classify 1"),
    ("console-firefighters", "HSET rq:job:1 data x"),
    ("console-firefighters", "PUBLISH rq:pubsub:w {}"),
    ("console-review", "XRANGE dispatch:firefighters - +"),
    ("console-all", "XADD dispatch:firefighters * event x"),
    ("console-all", "HSET open:all case row"),
    ("web", "XADD dispatch:firefighters * event x"),
    ("web", "HSET almenara:incident:1 verdict fire"),
    ("web", "RPUSH rq:queue:classify 1"),
    ("web", "HSET rq:job:1 data x"),
    ("web", "XADD board:firefighters * row x"),
    ("webhooks", "XADD dispatch:firefighters * event x"),
    ("webhooks", "XADD moves:firefighters * move x"),
    ("webhooks", "XDEL dispatch:firefighters 1-0"),
    ("webhooks", "XRANGE board:firefighters - +"),
    ("webhooks", "XGROUP CREATE board:firefighters webhooks:cad 0 MKSTREAM"),
    ("webhooks", "SET almenara:board 9"),
    ("web", "HSET webhooks:following cad {}"),
    ("metrics", "GET webhooks:position:cad"),
    ("ingester", "XADD dispatch:firefighters * event x"),
    ("ingester", "XRANGE dispatch:firefighters - +"),
    ("ingester", "LPOP rq:queue:classify"),
    ("ingester", "XADD moves:firefighters * move x"),
    ("worker", "XADD moves:firefighters * move x"),
    ("worker", "XADD board:firefighters 1-0 row x"),
    ("worker", "HSET open:firefighters case row"),
    ("worker", "SET almenara:board 9"),
    ("worker", "HSET almenara:model current other"),
    ("desk", "RPUSH rq:queue:classify 1"),
    ("desk", "HSET rq:job:1 data x"),
    ("desk", "XADD moves:firefighters * move x"),
    ("operator", "XADD dispatch:firefighters * event x"),
    ("operator", "XADD moves:firefighters * move x"),
    ("metrics", "HGETALL almenara:incident:1"),
    ("metrics", "LRANGE rq:queue:classify 0 -1"),
]


@pytest.mark.parametrize(("role", "command"), REFUSED)
def test_what_would_be_forged_or_read_is_refused(server: Server, role: str, command: str) -> None:
    """Not only would the broker refuse: it does, and nothing is there afterwards."""
    with server.client(role) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())
    assert server.root.dbsize() == 0


def test_without_a_name_nobody_gets_in(server: Server) -> None:
    """The user that a client is without one is off, and a wrong password is refused."""
    stranger = connect(Settings(redis_url=f"unix://{server.settings.broker_socket}"))
    with stranger, pytest.raises(AuthenticationError):
        stranger.ping()
    with server.client("desk", "x" * 64) as impostor, pytest.raises(AuthenticationError):
        impostor.ping()


def test_every_key_has_a_row(server: Server) -> None:
    """Names in shared/keys.py and in the scripts' prelude are in the table, so that none is nobody's."""
    patterns = {key.name: key.pattern() for key in keys()}
    prelude = (
        (Path(shared.keys.__file__).parent / "scripts" / "prelude.lua").read_text().split("local a =")[0]
    )
    named = set(re.findall(r"(?:almenara|open|board|moves|dispatch|webhooks|rq):[a-z_:<>]*[a-z_>]", prelude))
    named |= {value for name, value in vars(shared.keys).items() if name.isupper() and ":" in str(value)}
    for name, make in vars(shared.keys).items():
        if name.endswith("_key"):
            named.add(make("0123abcd"))
    lost = [
        name
        for name in sorted(named)
        if not any(fnmatch.fnmatchcase(re.sub(r"<\w+>", "0", name), each) for each in patterns.values())
        and not name.endswith(":")  # a prefix
    ]
    assert lost == []
    assert len(patterns) == len(keys())


def test_the_page_shows_the_table() -> None:
    """What docs/broker.md says of rights is what the broker is told."""
    page = (Path(__file__).parents[2] / "docs" / "broker.md").read_text(encoding="utf-8")
    shown = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("| `") and line.count("|") == len(COLUMNS) + 2
    ]
    assert shown == [[key.name, *(key.rights[column] for column in COLUMNS)] for key in keys()]
