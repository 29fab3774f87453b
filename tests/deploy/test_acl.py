import fnmatch
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
from conftest import make_photograph, wait_until
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

import shared.keys
from console.webhooks.dead import dead_letters, hand_over, revive
from console.webhooks.forgetting import forget
from console.webhooks.hooks import Webhook
from console.webhooks.letters import Letters
from deploy.acl import acl_file, differences, expected, meaning, users_of
from deploy.cli import main
from deploy.private_broker import PrivateBroker
from deploy.rights import COLUMNS, Key, column_of, keys, roles
from ingest.admission import admit
from shared.announcements import Announcement, Model, announce, history, note, roll_back
from shared.broker import Broker, Script, connect, patiently
from shared.keys import dead_letters_key, dispatch_key, webhook_again_key
from shared.refusals import BrokerRefusesError
from shared.routing import Routing
from shared.settings import Settings

DEPARTMENTS = ["firefighters", "ambulance"]
ROLES = roles(DEPARTMENTS)
PASSWORDS = {role: f"{role:-<40}".replace("-", "0") for role in ROLES}
ROOT = "user root on nopass ~* &* +@all"
SCRIPTS = sorted(path.stem for path in Path(shared.keys.__file__).parent.glob("scripts/*.lua"))
OTHERS = [role for role in ROLES if role.startswith("console-")] + ["web", "webhooks", "metrics"]
"""Who has no business with scripts."""


DENIED = "ACL failure|user executing the script can't"
"""What Valkey and Redis 7 say of a command in a script that its caller may not run."""


class Server:
    """A broker with the users of an ACL file, and a client for each."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(state_dir=folder)
        (folder / "users.acl").write_text(acl_file(users_of(ROLES), PASSWORDS) + ROOT + "\n")
        private = PrivateBroker(self.settings)
        private.prepare()
        self.process = subprocess.Popen([*private.command(), "--aclfile", str(folder / "users.acl")])
        wait_until(self._answers, within_s=60, what="the broker answers")
        self.root = self.client("root", "any")

    def client(self, role: str, password: str = "") -> Broker:
        """A client as one user."""
        login = f"{role}:{password or PASSWORDS[role]}"
        return connect(Settings(redis_url=f"unix://{login}@{self.settings.broker_socket}"))

    def may(self, role: str, *command: str) -> bool:
        """Whether the broker would let a user do it."""
        reply: Any = self.root.execute_command("ACL DRYRUN", role, *command)  # type: ignore[no-untyped-call]
        if not isinstance(reply, bytes | str):
            raise TypeError(reply)
        return reply in (b"OK", "OK")

    def _answers(self) -> bool:
        try:
            with self.client("root", "any") as client:
                return bool(client.ping())
        except RedisError:
            return False


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One for all tests of this file."""
    with tempfile.TemporaryDirectory(prefix="almenara-test-", ignore_cleanup_errors=True) as folder:
        made = Server(Path(folder))
        yield made
        made.process.kill()
        made.process.wait(timeout=30)


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


@pytest.mark.parametrize("role", OTHERS)
def test_no_script_helps_whoever_runs_none(server: Server, role: str) -> None:
    """Consoles, web and webhooks can't have a script do what they can't; nor load one that others run."""
    with server.client(role) as client:
        for name in SCRIPTS:
            server.root.script_load(Script(name).source)
            with pytest.raises(NoPermissionError):
                Script(name)(client, {"id": "1"})
            with pytest.raises(NoPermissionError):
                client.script_load(Script(name).source)
        if role != "metrics":  # which is told the length of the queue in that way
            with pytest.raises(NoPermissionError):
                client.eval("return 1", 0)
    assert server.root.dbsize() == 0


def test_a_script_does_not_lend_rights(server: Server) -> None:
    """Who may run scripts runs them with their own rights: no board by a worker, no job by a desk."""
    change = {"version": 1, "department": "all", "case": "c", "row": "{}", "open": True, "outcomes": ""}
    with server.client("worker") as worker, pytest.raises(ResponseError, match=DENIED):
        Script("board")(worker, {"keep": 10, "changes": [change]})
    with server.client("desk") as desk, pytest.raises(ResponseError, match=DENIED):
        admit(desk, [("claim", make_photograph(1))])
    entry = {"entries": [["firefighters", "{}"]], "incident": {"verdict": "dispatched"}, "keep_s": 60}
    with server.client("ingester") as ingester:
        assert admit(ingester, [("claim", make_photograph(2))]) == ["admitted"]
        with pytest.raises(ResponseError, match=DENIED):
            Script("amend")(
                ingester, {"id": make_photograph(2).incident_id, "revision": 1, "decision": "d", **entry}
            )
    there = {key.decode() for key in server.root.scan_iter()}
    assert not [key for key in there if key.startswith(("board:", "open:", "dispatch:"))]
    assert server.root.llen("rq:queue:classify") == 1  # the ingester's
    server.root.flushall()


def test_an_operator_ends_a_script_that_stops_everybody(server: Server) -> None:
    """Who may run scripts can stop the broker with one; AUTH and SCRIPT KILL are let through."""
    server.root.config_set("busy-reply-threshold", 50)
    with server.client("metrics") as metrics, futures.ThreadPoolExecutor() as pool:
        endless = pool.submit(metrics.eval, "while true do end", 1, "rq:queue:classify")
        wait_until(lambda: "BUSY" in _said(server, "metrics", "PING"), within_s=60, what="nobody is served")
        assert "+OK" in _said(server, "operator", "SCRIPT KILL")
        assert isinstance(endless.exception(timeout=60), RedisError)
    wait_until(lambda: "PONG" in _said(server, "metrics", "PING"), within_s=60, what="all are served again")
    server.root.config_set("busy-reply-threshold", 5000)


def _said(server: Server, role: str, command: str) -> str:
    """What a plain client such as valkey-cli is told, after its login."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(server.settings.broker_socket))
        line.sendall(f"AUTH {role} {PASSWORDS[role]}\r\n{command}\r\n".encode())
        said = b""
        while said.count(b"\r\n") < 2:
            said += line.recv(1000)
    return said.decode().partition("\r\n")[2]


def test_an_operator_announces_models_and_workers_answer(server: Server) -> None:
    """Nobody else announces; a worker adds what became of it, and can't change what was announced."""
    model = Model("a" * 64, "street6")
    with server.client("operator") as operator, server.client("worker") as worker:
        announce(operator, model, "ana")
        announce(operator, Model("b" * 64, "street6"), "ana")
        assert roll_back(operator, "ana").model == model
        assert Announcement.fetch(worker).model == model
        note(worker, "swapped", model, "worker-1")
        assert len(history(operator, 10)) == 4
        with pytest.raises(NoPermissionError):
            announce(worker, model, "worker-1")
    with server.client("web") as web, pytest.raises(NoPermissionError):
        announce(web, model, "web")
    server.root.flushall()


def test_an_operator_puts_back_what_webhooks_gave_up(server: Server) -> None:
    """Dead letters are listed and put back by an operator, who can't forge a dispatch by that."""
    hook = Webhook(name="city", departments=("firefighters",), url="https://a.example", secret_file=Path("s"))
    letter = {"webhook": "city", "event": "{}", "reason": "gone", "tries": "3", "at": "2026-11-24T10:00:00Z"}
    with server.client("webhooks") as webhooks, server.client("operator") as operator:
        webhooks.xadd(dead_letters_key("firefighters"), letter)
        assert len(list(dead_letters(operator, hook, ""))) == 1
        assert revive(operator, hook, "") == 1
        assert hand_over(operator, hook, "firefighters", ["{}"]) == 1
        assert webhooks.xlen(webhook_again_key("city")) == 2
    server.root.flushall()


def test_an_operator_forgets_a_webhook(server: Server) -> None:
    """With all that the broker keeps for it; dispatches stay."""
    hook = Webhook(name="city", departments=("firefighters",), url="", secret_file=Path())
    stream = dispatch_key("firefighters")
    with server.client("webhooks") as webhooks, server.client("operator") as operator:
        Letters(webhooks, hook).prepare()
        server.root.xadd(stream, {"event": "{}"})
        webhooks.xadd(dead_letters_key("firefighters"), {"webhook": "city", "event": "{}"})
        hand_over(operator, hook, "firefighters", ["{}"])
        assert forget(operator, hook) == 3
        assert webhooks.xinfo_groups(stream) == []
        assert operator.xlen(stream) == 1
    server.root.flushall()


def test_keda_can_ask_how_long_the_queue_is(server: Server) -> None:
    """By the script that its Redis scaler sends, as `metrics`."""
    asks = "if redis.call('type', KEYS[1]).ok == 'list' then return redis.call('llen', KEYS[1]) end return 0"
    server.root.rpush("rq:queue:classify", "1", "2")
    with server.client("metrics") as metrics:
        assert metrics.eval(asks, 1, "rq:queue:classify") == 2
        for forbidden in ("'RPUSH', 'rq:queue:classify', 'x'", "'GET', 'almenara:number'"):
            with pytest.raises(ResponseError, match=DENIED):
                metrics.eval(f"return redis.call({forbidden})", 1, "rq:queue:classify")
    server.root.flushall()


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


def test_a_running_broker_is_compared_with_the_file(server: Server) -> None:
    """Users that are missing, too many, or may do other things are named; what is right is not."""
    wanted = expected(users_of(ROLES), PASSWORDS)
    with server.client("operator") as operator:
        assert differences(operator, wanted) == ["root: nobody asked for this user"]
        more = expected(users_of([*ROLES, "console-police-force"]), PASSWORDS | {"web": "y" * 64})
        assert differences(operator, more) == [
            "web: has another password",
            "console-police-force: the broker has no such user",
            "root: nobody asked for this user",
        ]
        server.root.acl_setuser("desk", commands=["+flushall"], enabled=True)
        assert "desk: may do other things than it should" in differences(operator, wanted)
    server.root.acl_load()


def test_a_changed_file_is_read_by_the_operator_who_cuts_old_lines(server: Server) -> None:
    """Without a restart: a new password counts, the old one does not, and the others go on."""
    users = server.settings.state_dir / "users.acl"
    before = users.read_text()
    old, other = server.client("web"), server.client("desk")
    with old, other, server.client("operator") as operator, server.client("web", "n" * 40) as new:
        assert old.ping()
        assert other.ping()
        users.write_text(acl_file(users_of(ROLES), PASSWORDS | {"web": "n" * 40}) + ROOT + "\n")
        operator.acl_load()
        operator.execute_command("CLIENT", "KILL", "USER", "web")
        with pytest.raises(BrokerRefusesError):
            patiently(old.ping)
        assert new.ping()
        assert patiently(other.ping)  # Redis before 7.2 cuts its line, too
        users.write_text(before)
        operator.acl_load()


def test_a_line_means_the_same_in_any_order() -> None:
    """Servers write users back in an order of their own."""
    ours = "user a reset on #12 &x -@all +get (%R~b -@all +get +xread)"
    theirs = (
        "user a on sanitize-payload #12 resetchannels &x -@all +get (%R~b resetchannels -@all +xread +get)"
    )
    assert meaning(ours) == meaning(theirs)
    assert meaning(ours) != meaning(ours.replace("%R~b", "~b"))
    assert meaning(ours) != meaning(ours.replace(" on ", " off "))
    shorter = theirs.replace("+xread +get", "+@some -hset")
    assert meaning(ours) == meaning(
        shorter, lambda name: {"xread", "get", "hset"} if name == "some" else set()
    )


# The command.


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `almenara acl` in a scratch folder; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALMENARA_STATE_DIR", str(tmp_path / "state"))

    def command(*arguments: str) -> tuple[int, str]:
        code = main(["acl", *arguments])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return command


def test_files_are_for_their_owner_and_passwords_are_not_shown(run: Any, tmp_path: Path) -> None:
    """Each role has a password and an address with it; on the screen and in the ACL file are none."""
    code, shown = run("--out", "acl", "--url", "rediss://broker.example.org:6380/0?ssl_ca_certs=/ca.pem")
    assert code == 0
    folder = tmp_path / "acl"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    departments = Routing.load(Settings().routing).departments
    known = roles(departments)
    assert {path.name for path in folder.glob("*.password")} == {f"{role}.password" for role in known}
    _, printed = run("--out", "acl")
    _, listed = run()
    text = (folder / "users.acl").read_text()
    for role in known:
        password = (folder / f"{role}.password").read_text().strip()
        assert re.fullmatch(r"[0-9a-f]{64}", password)
        assert password not in shown + printed + listed + text
        address = f"rediss://{role}:{password}@broker.example.org:6380/0?ssl_ca_certs=/ca.pem"
        assert (folder / f"{role}.url").read_text().strip() == address


def test_a_second_run_only_adds(run: Any, tmp_path: Path) -> None:
    """With a new department in the routing file, the others keep their passwords."""
    run("--out", "acl")
    before = {path.name: path.read_text() for path in (tmp_path / "acl").glob("*.password")}
    routing = tmp_path / "routing.toml"
    text = Settings().routing.read_text(encoding="utf-8")
    routing.write_text(text.replace("[departments]", '[departments]\ncoast-guard = "Coast Guard"'))
    code, _ = run_with(routing, run, "--out", "acl")
    assert code == 0
    after = {path.name: path.read_text() for path in (tmp_path / "acl").glob("*.password")}
    assert after.items() >= before.items()
    assert set(after) - set(before) == {"console-coast-guard.password"}
    assert "user console-coast-guard reset on #" in (tmp_path / "acl" / "users.acl").read_text()


def test_a_department_that_vanishes_keeps_its_user_until_it_is_dropped(run: Any, tmp_path: Path) -> None:
    """A forgotten ALMENARA_ROUTING locks no department out; one that is gone for good is dropped by name."""
    routing = tmp_path / "routing.toml"
    text = Settings().routing.read_text(encoding="utf-8")
    routing.write_text(text.replace("[departments]", '[departments]\ncoast-guard = "Coast Guard"'))
    run_with(routing, run, "--out", "acl")
    users = tmp_path / "acl" / "users.acl"
    before = users.read_text()
    code, said = run("--out", "acl")
    assert (code, sorted(users.read_text().splitlines())) == (0, sorted(before.splitlines()))
    assert "console-coast-guard is kept" in said and "--drop coast-guard" in said
    assert run("--out", "acl", "--drop", "firefighters")[0] == 2
    assert "console-coast-guard" in users.read_text()
    assert run("--out", "acl", "--drop", "coast-guard")[0] == 0
    assert "console-coast-guard" not in users.read_text()
    assert not list((tmp_path / "acl").glob("console-coast-guard.*"))
    assert "is kept" not in run("--out", "acl")[1]


def run_with(routing: Path, run: Any, *arguments: str) -> tuple[int, str]:
    """The same with another routing file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALMENARA_ROUTING", str(routing))
        outcome: tuple[int, str] = run(*arguments)
    return outcome


def test_one_role_gets_a_new_password(run: Any, tmp_path: Path) -> None:
    """`--rotate` changes that role's and no other's; a role that is none is refused with those there are."""
    run("--out", "acl")
    before = (tmp_path / "acl" / "users.acl").read_text().splitlines()
    code, _ = run("--out", "acl", "--rotate", "console-review")
    after = (tmp_path / "acl" / "users.acl").read_text().splitlines()
    assert code == 0
    assert [line.split()[1] for line, old in zip(after, before, strict=True) if line != old] == [
        "console-review"
    ]
    code, shown = run("--out", "acl", "--rotate", "mayor")
    assert code == 2
    assert "console-review" in shown


def test_without_a_folder_it_prints_what_it_would_write(run: Any, tmp_path: Path) -> None:
    """Nothing is written; roles without a password are off, and the rules are there."""
    code, shown = run()
    assert code == 0
    assert "user console-firefighters reset off -@all" in shown
    assert "user default reset off" in shown
    assert list(tmp_path.iterdir()) == []


def test_sentinels_get_users_only_where_they_are(run: Any, tmp_path: Path) -> None:
    """Users for replicas and Sentinels may much, and are left out elsewhere."""
    assert "user sentinel" not in run()[1]
    run("--out", "acl", "--sentinel")
    assert "user replica reset on #" in (tmp_path / "acl" / "users.acl").read_text()


def test_a_weak_password_is_not_taken(run: Any, tmp_path: Path) -> None:
    """One that somebody wrote into the file by hand must be long: its plain SHA-256 lies in the ACL file."""
    run("--out", "acl")
    (tmp_path / "acl" / "web.password").write_text("hunter2\n")
    code, shown = run("--out", "acl")
    assert code == 2
    assert "web.password" in shown
    assert "hunter2" not in shown
