"""What `almenara webhooks` and `replay` do.

Parts are imported where they are used, so that no command loads what it does not need.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.services import stop_on_signals
from shared import probes
from shared.broker import Broker, StoppedError, check, connect
from shared.errors import ConfigError
from shared.incidents import iso
from shared.labels import escape_label
from shared.metrics import count_from_nothing
from shared.routing import REVIEW, Routing
from shared.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from console.webhooks.dead import DeadLetter
    from console.webhooks.hooks import Webhook

NO_RECORD_S = 60.0
"""A desk that starts beside us has made its record by then."""


def webhooks(options: argparse.Namespace, settings: Settings) -> int:
    """Deliver webhooks; or list what was given up, or put it back."""
    from console.webhooks.hooks import load_webhooks

    routing = Routing.load(settings.routing)
    if options.forget is not None:
        return _forget(connect(settings), settings, routing, options.forget)
    hooks = load_webhooks(_file(settings), routing)
    if options.replay is not None:
        return _revive(connect(settings), _named(hooks, options.replay), options.since)
    if options.dead:
        return _list(connect(settings), hooks, options)
    return _deliver(options, settings, routing, hooks)


def replay(options: argparse.Namespace, settings: Settings) -> int:
    """Print a department's dispatches again from the desk's record, or have a webhook deliver them."""
    from console.records import check_record, open_database
    from console.replaying import replayed
    from console.webhooks.dead import hand_over
    from console.webhooks.following import events_since
    from console.webhooks.hooks import Form, load_webhooks

    routing = Routing.load(settings.routing)
    if options.department != REVIEW and options.department not in routing.departments:
        raise ConfigError(
            f"there is no department {options.department!r}",
            remedy=f"choose from {', '.join(routing.departments)}, {REVIEW}",
        )
    file = _file(settings) if options.webhook is not None else Path()
    engine = open_database(settings.database, read_only=True)
    check_record(engine)
    since = _moment(options.since)
    events = replayed(engine, routing, options.department, since)
    if options.webhook is None:
        for event in events:
            _say(event)
        return 0
    webhook = _named(load_webhooks(file, routing), options.webhook)
    what = "dispatches"
    if webhook.form is Form.CAP:
        events, what = events_since(engine, options.department, since), "CAP messages"
    given = hand_over(connect(settings), webhook, options.department, events)
    _say(f"{given} {what} are handed to webhook {webhook.name}")
    return 0


def _file(settings: Settings) -> Path:
    if not settings.webhooks:
        raise ConfigError(
            "no webhooks file is named", remedy="set ALMENARA_WEBHOOKS to one; docs/integrations.md shows it"
        )
    return Path(settings.webhooks)


def _deliver(
    options: argparse.Namespace, settings: Settings, routing: Routing, hooks: Sequence["Webhook"]
) -> int:
    from console.cap import CapSource
    from console.records import open_database
    from console.webhooks.bodies import Bodies
    from console.webhooks.hooks import Form
    from console.webhooks.service import WebhookService
    from shared.logs import configure

    configure(settings, "webhooks")
    stop = options.liveness.watching(stop_on_signals())
    wants_cap = any(hook.form is Form.CAP for hook in hooks)
    engine = open_database(settings.database, read_only=True) if wants_cap else None
    broker = connect(settings)
    bodies = Bodies(routing, CapSource.of(settings), engine)
    keep = timedelta(days=settings.retention_days)
    service = WebhookService(broker, hooks, bodies, record=engine, keep=keep)
    count_from_nothing(department for hook in hooks for department in hook.departments)
    probes.serve("webhooks", settings, options.liveness, broker)
    check(broker, settings, stop=stop)
    if engine is not None:
        await_record(engine, stop)
    service.run(stop, listening=options.liveness.begin)
    options.liveness.end()
    return 0


def await_record(engine: "Engine", stop: Callable[[], bool], *, patience_s: float = NO_RECORD_S) -> None:
    """Wait for the desk's record, of which CAP messages are made; for a file that is not there `patience_s`.

    Raises:
        ConfigError: it can't be used, or there is none: each dispatch would be given up after hours of tries.
        StoppedError: `stop` turned true before.
    """
    from console.outages import RecordAwayError, outlast
    from console.records import check_record, file_of, place_of_record

    until_s = time.monotonic() + patience_s

    def enough() -> bool:
        return stop() or (file_of(engine) == (0, 0) and time.monotonic() > until_s)

    try:
        outlast(lambda: check_record(engine), stop=enough)
    except RecordAwayError as error:
        if stop():
            raise StoppedError("stopped while the desk's record was away") from error
        raise ConfigError(
            f"a webhook of format cap needs the desk's record, and {place_of_record(engine)} is not there",
            remedy="give this service the desk's ALMENARA_DATABASE_URL, and start `almenara desk`",
        ) from error


def _forget(broker: Broker, settings: Settings, routing: Routing, name: str) -> int:
    """Its file may be gone with it: then nothing says that it is still wanted."""
    from console.webhooks.forgetting import forget
    from console.webhooks.hooks import Webhook, names_in

    if settings.webhooks and name in names_in(_file(settings)):
        raise ConfigError(
            f"webhook {name!r} is in {settings.webhooks} still",
            remedy="take it out of there and restart `almenara webhooks` first",
        )
    check(broker, settings)
    departments = (*routing.departments, REVIEW)
    removed = forget(broker, Webhook(name=name, departments=departments, url="", secret_file=Path()))
    if not removed:
        raise ConfigError(
            f"the broker keeps nothing for a webhook {name!r}",
            remedy="`almenara status` names those that lag",
        )
    _say(f"webhook {name} is forgotten, with what it had not delivered")
    return 0


def _revive(broker: Broker, webhook: "Webhook", since: str | None) -> int:
    from console.webhooks.dead import revive

    revived = revive(broker, webhook, iso(_moment(since)) if since else "")
    _say(f"{revived} dispatches are put back for webhook {webhook.name}")
    return 0


def _list(broker: Broker, hooks: Sequence["Webhook"], options: argparse.Namespace) -> int:
    from console.webhooks.dead import dead_letters, disabled_since

    since = iso(_moment(options.since)) if options.since else ""
    for hook in hooks:
        disabled_at = disabled_since(broker, hook)
        if disabled_at and not options.json:
            _say(
                f"{hook.name} is disabled since {disabled_at}: its receiver said 410 Gone. "
                f"`almenara webhooks --replay {hook.name}` begins again"
            )
        for letter in dead_letters(broker, hook, since):
            _say(json.dumps(_record(hook, letter)) if options.json else _line(hook, letter))
    return 0


def _record(hook: "Webhook", letter: "DeadLetter") -> dict[str, Any]:
    return {
        "webhook": hook.name,
        "department": letter.department,
        "at": letter.at,
        "reason": letter.reason,
        "tries": letter.tries,
        "event": letter.event,
    }


def _line(hook: "Webhook", letter: "DeadLetter") -> str:
    try:
        about = json.loads(letter.event)
        number = str(about["data"]["number"] if "data" in about else about["id"])
    except (ValueError, LookupError, TypeError):
        number = "no dispatch"
    return (
        f"{letter.at[:19]}Z  {hook.name}  {letter.department}  {escape_label(number)}  "
        f"{escape_label(letter.reason)} after {letter.tries} tries"
    )


def _named(hooks: Sequence["Webhook"], name: str) -> "Webhook":
    for hook in hooks:
        if hook.name == name:
            return hook
    raise ConfigError(
        f"there is no webhook {name!r}", remedy=f"choose from {', '.join(hook.name for hook in hooks)}"
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no time", remedy="write it as 2026-11-24T10:02:03Z") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
