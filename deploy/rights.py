"""Who may do what in the broker: one table, of which `almenara acl` makes users. docs/broker.md shows it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.errors import ConfigError
from shared.keys import QUEUE, dispatch_key
from shared.routing import ALL, REVIEW

TABLE = """
key                             kind    ingester worker desk web webhooks console console-all operator metrics
almenara:incident:<id>          hash    w        w      w    r   -        -       -           w        -
almenara:incidents              zset    w        -      r    r   -        -       -           w        r
almenara:decisions:<id>         set     -        -      w    -   -        -       -           r        -
almenara:number                 string  w        -      w    -   -        -       -           w        -
almenara:counts                 hash    c        c      c    r   -        -       -           c        r
almenara:changed                stream  a        a      artd m   -        -       -           ard      m
almenara:lease                  zset    -        w      r    r   -        -       -           r        r
almenara:popped                 zset    -        w      -    -   -        -       -           r        -
almenara:swept                  hash    -        w      -    -   -        -       -           r        -
almenara:ingester:<name>        string  w        -      r    r   -        -       -           r        -
almenara:label_seen             hash    w        -      r    r   -        -       -           r        r
almenara:model                  hash    -        r      r    r   -        -       -           w        r
almenara:models                 stream  -        ar     r    r   -        -       -           ar       -
almenara:alive:<service>        zset    r        r      r    r   r        r       r           r        r
almenara:alive:ingest           zset    w        -      -    -   -        -       -           r        r
almenara:alive:desk             zset    -        -      w    -   -        -       -           r        r
almenara:alive:web              zset    -        -      -    w   -        -       -           r        r
almenara:alive:webhooks         zset    -        -      -    -   w        -       -           r        r
almenara:listening:<department> zset    -        -      r    w   -        w       w           r        r
almenara:board                  string  -        -      w    r   r        r       r           r        r
open:<department>               hash    -        -      w    r   -        r       r           r        m
board:<department>              stream  -        -      w    r   -        r       r           r        -
moves:<department>              stream  -        -      rtd  am  -        a       a           rd       m
dispatch:<department>           stream  t        a      atm  m   g        r       r           rdx      m
webhooks:later:<name>           zset    -        -      -    -   w        -       -           w        -
webhooks:dead:<department>      stream  -        -      m    m   w        -       -           w        m
webhooks:again:<name>           stream  -        -      m    m   gw       -       -           w        m
webhooks:position:<name>        string  -        -      -    -   w        -       -           w        -
webhooks:following              hash    -        -      r    r   w        -       -           w        r
webhooks:disabled:<name>        string  -        -      -    -   w        -       -           w        -
rq:queues                       set     w        w      -    -   -        -       -           w        -
rq:queue:classify               list    a        w      r    r   -        -       -           w        m
rq:queue:classify:intermediate  list    -        w      r    r   -        -       -           r        m
rq:job:<id>                     hash    w        w      -    -   -        -       -           w        -
rq:wip:classify                 zset    -        w      -    -   -        -       -           r        m
rq:finished:classify            zset    -        w      -    -   -        -       -           r        m
rq:failed:classify              zset    -        w      r    r   -        -       -           w        m
rq:results:<id>                 stream  -        w      -    -   -        -       -           r        -
rq:executions:<id>              zset    -        w      -    -   -        -       -           r        -
rq:execution:<id>:<execution>   hash    -        w      -    -   -        -       -           r        -
rq:workers                      set     -        w      r    r   -        -       -           r        r
rq:workers:classify             set     -        w      r    r   -        -       -           r        r
rq:worker:<name>                hash    -        w      r    r   -        -       -           r        r
rq:worker:<name>:executions     set     -        w      r    r   -        -       -           r        r
rq:suspended                    string  -        r      -    -   -        -       -           w        -
"""
"""r reads. m sees how much there is. a adds, and can't read or change what is there; a stream, whose
XADD also trims and takes any id, it can empty, and keep others from adding to. c reads and counts. t trims.
d removes it whole. g reads, as a consumer group. x removes such groups. w does all of that, changes and
removes.
`<department>` is a console's own; to any other role it is every one."""

_ANY = "exists type ttl pttl watch"
"""Of any key: whether it is there, and of what kind."""

_KEEP = "del unlink expire pexpire persist"

_READING = {
    "string": "get strlen",
    "hash": "hget hmget hgetall hlen hkeys hvals hexists hscan",
    "set": "scard smembers sismember smismember sscan",
    "zset": "zcard zcount zscore zmscore zrank zrange zrangebyscore zrevrange zscan",
    "list": "llen lrange lindex lpos",
    "stream": "xlen xrange xrevrange xread xinfo|stream xinfo|groups xinfo|consumers",
}
_MORE = {
    ("string", "w"): "set incr incrby",
    ("hash", "c"): "hincrby hincrbyfloat",
    ("hash", "w"): "hincrby hincrbyfloat hset hsetnx hdel",
    ("set", "w"): "sadd srem",
    ("zset", "w"): "zadd zincrby zrem zremrangebyscore zremrangebyrank",
    ("list", "a"): "rpush lpush",
    ("list", "w"): "rpush lpush lpop rpop lrem blmove lmove",
    ("stream", "m"): "xlen xinfo|groups",
    ("list", "m"): "llen",
    ("hash", "m"): "hlen",
    ("zset", "m"): "zcard",
    ("stream", "a"): "xadd",
    ("stream", "t"): "xtrim",
    ("stream", "d"): "del unlink",
    ("stream", "g"): "xreadgroup xack xpending xclaim xautoclaim xgroup|create xgroup|createconsumer "
    "xgroup|delconsumer xgroup|setid xgroup|destroy",
    ("stream", "x"): "xgroup|destroy",
    ("stream", "w"): "xadd xtrim xdel",
}
"""What each right allows, for each kind of key. More than these no part of ours needs."""

_PERMISSION = {
    "r": "%R~",
    "m": "%R~",
    "a": "%W~",
    "t": "%W~",
    "d": "%W~",
    "x": "%W~",
    "c": "~",
    "g": "~",
    "w": "~",
}
"""Redis's own words: a command that reads passes only where the key may be read, and so on."""

EVERYBODY = (
    "ping hello auth reset select time info multi exec discard unwatch quit client|id client|info "
    "client|setname client|getname"
)
"""What a connection needs. INFO shows how the server is, and nothing of what it keeps."""

_SCRIPTS = "evalsha script|load script|exists"
"""A script does nothing that whoever runs it may not do by single commands."""

SERVICES = {
    "ingester": f"{_SCRIPTS} scan wait",
    "worker": f"{_SCRIPTS} subscribe unsubscribe",
    "desk": f"{_SCRIPTS} client|no-evict",
    "web": "",
    "webhooks": "",
    "operator": f"{_SCRIPTS} scan wait publish dbsize role config|get acl|list acl|cat acl|load acl|log "
    "acl|whoami client|list client|kill script|kill slowlog|get slowlog|len latency|latest memory|usage "
    "memory|stats",
    "metrics": "",
}
"""The roles that are not consoles, and the commands without keys that each has besides.

`scan` shows the names of all keys: the ingester trims streams of departments that the routing file has lost.
The desk must read past what fills the broker, and so is not cut for what it reads. An operator repairs
(`almenara audit --repair`), stops workers (`rq`, by PUBLISH), looks at the server, has it read a changed
ACL file again, cuts the lines of whoever stole a password, and ends a script that does not end (SCRIPT
KILL). What would destroy or take over (FLUSHALL, CONFIG SET, ACL SETUSER, SHUTDOWN, REPLICAOF, DEBUG,
MONITOR) nobody has, nor KEYS: whoever may start the server on its own machine can do that there. Who may run
scripts can stop the server all the same, with one that never ends: ingester, worker, desk, operator, and
`metrics`.
"""

CONSUMERS = "consumer-"
"""Begins the names of users of other people's programs, each with a consumer group of its own."""

_CONSUMING = "xreadgroup xack xpending xclaim xautoclaim xgroup|create xgroup|createconsumer"
"""A program can't remove another's group, nor move it on. Redis has no rules for single groups: it could make
groups' entries its own."""

_CHANNELS = {"worker": "rq:pubsub:*", "operator": "rq:pubsub:*"}

_BESIDES = {"metrics": f"(~rq:queue:{QUEUE} -@all +eval)"}
"""KEDA asks for the length of the queue by EVAL, for which there is nothing less. A key that a script is
given counts as written, whatever the script does; what it then does is measured by the table. How long it
does it nobody measures: the password of `metrics` can stop the broker until an operator's SCRIPT KILL."""

_SERVERS = {
    "replica": "-@all +psync +replconf +ping",
    "sentinel": "allchannels -@all +multi +exec +ping +info +role +publish +subscribe +replicaof +slaveof "
    "+config|rewrite +client|setname +client|kill +script|kill",
}
"""For replicas and Sentinels, as the servers' own documentation has it. `sentinel` can make the broker a
replica of any server, and so is left out where there are none."""


@dataclass(frozen=True, slots=True)
class Key:
    """One row: a key's name with its variable part in angle brackets, its kind, and role -> rights."""

    name: str
    kind: str
    rights: dict[str, str]

    def pattern(self, own: str = "*") -> str:
        """As the broker matches it; `own` is the department of a console."""
        return re.sub(r"<\w+>", "*", self.name.replace("<department>", own))

    def sample(self, own: str) -> str:
        """A key of this name."""
        return self.pattern(own).replace("*", "0123abcd")


COLUMNS = TABLE.split("\n")[1].split()[2:]
"""The table's roles; all consoles of departments, and of review, are one."""


def keys() -> list[Key]:
    """The table's rows."""
    found = []
    for row in TABLE.strip().splitlines()[1:]:
        name, kind, *cells = row.split()
        rights = {role: cell.replace("-", "") for role, cell in zip(COLUMNS, cells, strict=True)}
        found.append(Key(name, kind, rights))
    return found


def roles(departments: Iterable[str], *, sentinel: bool = False) -> list[str]:
    """Every user that the broker gets: services, a console for each department, and servers' own."""
    consoles = [f"console-{word}" for word in (*departments, REVIEW, ALL)]
    return [*SERVICES, *consoles, *(_SERVERS if sentinel else ())]


def rules(role: str) -> str:
    """What one user may, in the words of an ACL file, without its password."""
    if role in _SERVERS:
        return _SERVERS[role]
    column, own = column_of(role)
    channels = f"&{_CHANNELS[role]} " if role in _CHANNELS else ""
    general = _allow(f"{EVERYBODY} {SERVICES.get(role, '')}")
    besides = [_BESIDES[role]] if role in _BESIDES else []
    return " ".join([f"{channels}-@all {general}", *_selectors(column, own), *besides])


def consumer_rules(departments: Iterable[str]) -> str:
    """What a program may that takes these departments' dispatches as a consumer group."""
    streams = " ".join(f"~{dispatch_key(word)}" for word in departments)
    allowed = _allow(f"{_ANY} {_READING['stream']} {_CONSUMING}")
    return f"-@all {_allow(EVERYBODY)} ({streams} -@all {allowed})"


def column_of(role: str) -> tuple[str, str]:
    """The table's column for a role, and what stands for `<department>`: one, or `*`."""
    if role in SERVICES or role == f"console-{ALL}":
        return role, "*"
    if not role.startswith("console-"):
        raise ConfigError(f"there is no role {role!r}")
    return "console", role.removeprefix("console-")


def _selectors(column: str, own: str) -> Iterator[str]:
    """One for each right and kind: a command must be allowed by a single selector, with all of its keys."""
    patterns: dict[tuple[str, str], list[str]] = {}
    for key in keys():
        for right in key.rights[column]:
            for each in _implied(right):
                found = patterns.setdefault((key.kind, each), [])
                if (pattern := key.pattern(own)) not in found:
                    found.append(pattern)
    for (kind, right), names in patterns.items():
        allowed = _allow(" ".join(commands(kind, right)))
        yield f"({' '.join(_PERMISSION[right] + name for name in names)} -@all {allowed})"


def _implied(right: str) -> Iterator[str]:
    """What may be changed is read together with what may only be read: XREAD takes several at once."""
    yield right
    if right in "wgc":
        yield "r"


def commands(kind: str, right: str) -> list[str]:
    """The commands that a right to a key of this kind is made of."""
    reading = _READING[kind] if right in "rwgc" else ""
    keeping = _KEEP if right == "w" else ""
    return f"{_ANY} {keeping} {reading} {_MORE.get((kind, right), '')}".split()


def _allow(words: str) -> str:
    return " ".join(f"+{command}" for command in words.split())
