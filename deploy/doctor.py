"""`almenara doctor`: is everything here that a service needs, and if not, what to do."""

import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from console.outages import RecordAwayError
from console.records import check_record, open_database, place_of_record
from console.users import Users
from console.web.assets import browser_folder, vendor_files
from deploy.exposure import weaknesses
from shared.announcements import Announcement
from shared.broker import Broker, check
from shared.checkpoint import Checkpoint
from shared.errors import AlmenaraError, ConfigError
from shared.images import ImageStore
from shared.model_files import Library
from shared.routing import Routing
from shared.sentinels import is_watched
from shared.settings import Settings
from worker.engines import options

LOW_DISK_BYTES = 1_000_000_000


class Health(StrEnum):
    """How a check came out."""

    OK = "ok"
    """As it should be."""
    WARNING = "warning"
    """It works, and something can be lost or slow."""
    FAILED = "failed"
    """A service will not run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it is, what to do."""

    subject: str
    health: Health
    detail: str
    remedy: str = ""


def examine(settings: Settings, broker: Broker) -> Iterator[Finding]:
    """Check everything, one finding after the other; a failed check does not end the rest."""
    for inbox in settings.inbox:
        yield from _guarded("inbox", partial(_inbox, inbox))
    yield from _guarded("state folder", lambda: _state(settings))
    yield from _guarded("image store", lambda: _store(settings))
    yield from _guarded("broker", lambda: _broker(settings, broker))
    yield from _guarded("model", lambda: _model(settings))
    yield from _guarded("announced model", lambda: _announced(settings, broker))
    yield from _guarded("engine", lambda: _engine(settings))
    yield from _guarded("file notifications", _notifications)
    yield from _guarded("desk's record", lambda: _record(settings))
    yield from _guarded("web console", lambda: _web(settings))


def _guarded(subject: str, work: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from work()
    except AlmenaraError as error:
        yield Finding(subject, Health.FAILED, error.detail, error.remedy)
    except OSError as error:
        yield Finding(
            subject, Health.FAILED, str(error), "check that it exists and that this user may use it"
        )


def _inbox(inbox: Path) -> Iterator[Finding]:
    place = inbox.resolve()
    if not place.exists():
        yield Finding(
            "inbox", Health.WARNING, f"{place} is not there yet", "the ingester makes it when it starts"
        )
        return
    probe = place / f".almenara-doctor-{uuid.uuid4().hex[:8]}"
    probe.mkdir()  # files are claimed by a rename inside the inbox, which needs this right
    probe.rmdir()
    yield Finding("inbox", Health.OK, f"{place} can be written to")


def _state(settings: Settings) -> Iterator[Finding]:
    place = settings.state_dir.resolve()
    place.mkdir(parents=True, exist_ok=True)
    probe = place / f".doctor-{uuid.uuid4().hex[:8]}"
    probe.write_bytes(b"")
    probe.unlink()
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < LOW_DISK_BYTES:
        yield Finding(
            "state folder",
            Health.WARNING,
            f"{place} has {free_bytes / 1e6:,.0f} MB free",
            "make room on that disk",
        )
    else:
        yield Finding("state folder", Health.OK, f"{place}, {free_bytes / 1e9:,.1f} GB free")


def _store(settings: Settings) -> Iterator[Finding]:
    store = ImageStore(settings.image_store_url)
    probe = store.put_picture(b"doctor", f"00doctor{uuid.uuid4().hex[:8]}", "tmp")
    try:
        store.sync()
        same = store.get(probe) == b"doctor"
    finally:
        store.remove(probe)
    if not same:
        yield Finding("image store", Health.FAILED, f"{store.url} gives back other bytes than it was given")
    else:
        yield Finding("image store", Health.OK, f"{store.url} keeps and gives back")


def _broker(settings: Settings, broker: Broker) -> Iterator[Finding]:
    about = check(broker, settings)
    kind = "Valkey" if about.get("valkey_version") else "Redis"
    where = "at ALMENARA_REDIS_URL" if settings.redis_url else "private"
    version = about.get("valkey_version") or about["redis_version"]
    yield Finding("broker", Health.OK, f"{kind} {version}, {where}")
    for weakness, remedy in weaknesses(settings):
        yield Finding("broker", Health.WARNING, weakness, remedy)
    # INFO tells most; CONFIG is forbidden where somebody else runs the broker.
    if not about.get("aof_enabled"):
        yield Finding(
            "broker",
            Health.WARNING,
            "it keeps no append-only file: a crash loses what came since its last snapshot",
            "set appendonly yes; pictures are in the store, and `almenara audit --repair` queues them again",
        )
    else:
        yield from _appendfsync(broker)
    if about.get("maxmemory") and about.get("maxmemory_policy") != "noeviction":
        yield Finding(
            "broker",
            Health.FAILED,
            f"maxmemory-policy is {about.get('maxmemory_policy')}: when full it throws incidents away",
            "set maxmemory-policy noeviction",
        )
    if settings.redis_url:
        yield from _memory(about, broker)
    if is_watched(broker) and not about.get("connected_slaves"):
        yield Finding(
            "broker",
            Health.FAILED,
            "the master that the Sentinels name has no replica: nothing is taken in that it alone would have",
            "start its replicas again",
        )


def _memory(about: Mapping[str, Any], broker: Broker) -> Iterator[Finding]:
    """Of a broker that is not the private one, whose limits we set: what its clients can do to it."""
    if "maxmemory" in about and not int(about["maxmemory"]):
        yield Finding(
            "broker",
            Health.WARNING,
            "it has no maxmemory: full, the machine ends it",
            "set maxmemory below what its machine has; then it refuses, and everything waits",
        )
    try:
        answer = broker.config_get("client-output-buffer-limit")
    except RedisError:
        return  # somebody else's, who has said so above
    value = next(map(_text, answer.values()), "")
    if re.search(r"\bnormal 0 0 ", value):
        yield Finding(
            "broker",
            Health.WARNING,
            "a connection that asks and does not take its replies can fill it",
            "set client-output-buffer-limit and maxmemory-clients as docs/broker.md has them",
        )


def _appendfsync(broker: Broker) -> Iterator[Finding]:
    try:
        answer = broker.config_get("appendfsync")
    except RedisError as error:
        yield Finding(
            "broker",
            Health.WARNING,
            f"how often it writes its append-only file can't be read ({error})",
            "ask whoever runs it what a crash can lose: appendfsync always loses nothing, everysec a second",
        )
        return
    value = next((_text(value) for name, value in answer.items() if _text(name) == "appendfsync"), "")
    if value != "always":
        yield Finding(
            "broker",
            Health.WARNING,
            f"appendfsync is {value}: a crash of its machine can lose about a second",
            "set appendfsync always; measured, it still takes thousands of photographs a second",
        )


def _model(settings: Settings) -> Iterator[Finding]:
    checkpoint = Checkpoint.load(settings.checkpoint)
    Routing.load(settings.routing).check_classes(checkpoint.classes)
    yield Finding(
        "model", Health.OK, f"{checkpoint.model_id} knows {', '.join(checkpoint.classes)}; all have routes"
    )


def _announced(settings: Settings, broker: Broker) -> Iterator[Finding]:
    """Whether workers can have the model that was announced to them."""
    try:
        model = Announcement.fetch(broker).model
    except RedisError:
        return  # said under `broker`
    if model is None:
        return
    library = Library(ImageStore(settings.image_store_url), settings.state_dir)
    if not library.holds(model):
        raise ConfigError(
            f"the image store has no file of {model.model_id}, which is announced: no other worker gets it",
            remedy="announce it again with `almenara model use CHECKPOINT`",
        )
    checkpoint = library.checkpoint(model)
    Routing.load(settings.routing).check_classes(checkpoint.classes)
    yield Finding("announced model", Health.OK, f"{model.model_id} can be had; all its classes have routes")


def _engine(settings: Settings) -> Iterator[Finding]:
    found = options(Checkpoint.load(settings.checkpoint), settings.state_dir)
    possible = [option.name for option in found if not option.obstacle]
    hindered = [option for option in found if option.obstacle]
    wanted = next((option for option in hindered if option.name == settings.engine), None)
    if wanted is not None:
        yield Finding("engine", Health.FAILED, f"{wanted.name} is set, and {wanted.obstacle}", wanted.remedy)
        return
    if not possible:
        yield Finding("engine", Health.FAILED, hindered[-1].obstacle, hindered[-1].remedy)
        return
    if settings.engine == "auto":
        detail = f"auto chooses {possible[0]}, the fastest of {', '.join(possible)}"
    else:
        detail = f"{settings.engine} is set, of {', '.join(possible)}"
    others = [f"not {option.name}, because {option.obstacle}" for option in hindered]
    detail = "; ".join([detail, *others])
    if settings.engine == "auto" and possible == ["torch-cpu"]:
        yield Finding("engine", Health.WARNING, detail, hindered[-1].remedy)
    else:
        yield Finding("engine", Health.OK, detail)


def _record(settings: Settings) -> Iterator[Finding]:
    engine = open_database(settings.database, read_only=True)
    try:
        check_record(engine)
    except RecordAwayError as error:
        yield Finding("desk's record", Health.WARNING, error.detail, error.remedy)
    else:
        yield Finding("desk's record", Health.OK, place_of_record(engine))
    finally:
        engine.dispose()


def _web(settings: Settings) -> Iterator[Finding]:
    vendor_files(browser_folder())
    users = Users.load(settings.users_path)
    users.check_departments(Routing.load(settings.routing).departments)
    names = users.names()
    if not names:
        yield Finding(
            "web console",
            Health.WARNING,
            f"nobody may log in: {settings.users_path} has no user",
            "make one with `almenara user add NAME --role operator --department WORD`",
        )
    else:
        yield Finding("web console", Health.OK, f"{len(names)} may log in (`almenara user list`)")


def _notifications() -> Iterator[Finding]:
    if sys.platform != "linux":
        yield Finding("file notifications", Health.OK, f"watchdog's own for {sys.platform}")
        return
    limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    yield Finding("file notifications", Health.OK, f"inotify, {limit:,} watches allowed")


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
