"""What `almenara console` and `decisions` do.

Parts are imported where they are used, so that no command loads what it does not need.
"""

import argparse
import getpass
import os
import sys

from redis.exceptions import NoPermissionError, ResponseError

from deploy.services import stop_on_signals
from shared.broker import Broker, check, connect
from shared.errors import ConfigError
from shared.keys import moves_key
from shared.refusals import BrokerRefusesError
from shared.routing import ALL, REVIEW
from shared.settings import Settings


def console(options: argparse.Namespace, settings: Settings) -> int:
    """Show dispatches, or work with them where there is a terminal to do so."""
    from console.screen.app import run_screen
    from console.terminal import Form, is_before_a_person, show
    from shared.logs import configure
    from shared.routing import Routing

    configure(settings, "console")
    routing = Routing.load(settings.routing)
    broker = connect(settings)
    check(broker, settings)
    form = Form.JSON if options.json else Form.PLAIN if options.plain else Form.PRETTY
    stop = stop_on_signals()
    if is_before_a_person(form, since=options.since, follow=not options.no_follow):
        _check_may_move(broker, options.department)
        return run_screen(
            broker,
            routing,
            options.department,
            by=options.by or _login_name(),
            image_store=settings.image_store_url,
            web_url=settings.web_url,
            stop=stop,
        )
    show(
        broker,
        routing,
        options.department,
        form=form,
        since=options.since,
        follow=not options.no_follow,
        stop=stop,
    )
    return 0


def _check_may_move(broker: Broker, department: str) -> None:
    """Ask the broker whether this user may do what the console's keys do; better known before an alarm.

    Raises:
        ConfigError: it may not.
    """
    try:
        # No entry can have this id, so that none is made; what the user may not is said before that.
        broker.xadd(moves_key(REVIEW if department == ALL else department), {"asked": ""}, id="0-0")
    except (NoPermissionError, BrokerRefusesError) as error:
        raise ConfigError(
            f"the broker's user may not move anything of {department}",
            remedy=f"give it the console's own: ALMENARA_REDIS_URL_FILE=.../acl/console-{department}.url; or "
            "only look, with --plain",
        ) from error
    except ResponseError:
        pass


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError) as error:  # a container's user may have no name
        raise ConfigError("who acts here has no login name", remedy="give --by NAME") from error


def _who() -> str:
    """The login name of who runs this, or the number of a user without one."""
    try:
        return _login_name()
    except ConfigError:
        return str(os.getuid())


def decisions(options: argparse.Namespace, settings: Settings) -> int:
    """Copy decided pictures into a folder for training."""
    from console.decisions import export
    from console.records import check_record, open_database
    from shared.images import ImageStore
    from shared.logs import configure

    configure(settings, "decisions")
    engine = open_database(settings.database, read_only=True)
    check_record(engine)
    count = export(engine, ImageStore(settings.image_store_url), options.folder, by=_who())
    sys.stdout.write(f"{count} decided pictures are in {options.folder}; `almenara train` reads it\n")
    return 0
