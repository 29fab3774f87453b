"""What `almenara console`, `desk`, `web` and `decisions` do; deploy/commands.py has the rest.

Parts are imported where they are used, so that no command loads what it does not need.
"""

import argparse
import getpass
import sys

from deploy.commands import stop_on_signals
from shared.broker import check, connect, patiently
from shared.errors import ConfigError
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


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError) as error:  # a container's user may have no name
        raise ConfigError("who acts here has no login name", remedy="give --by NAME") from error


def desk(_: argparse.Namespace, settings: Settings) -> int:
    """Run the desk."""
    from console.desk.service import DeskService
    from console.records import open_database
    from shared.logs import configure
    from shared.routing import Routing

    configure(settings, "desk")
    stop = stop_on_signals()
    routing = Routing.load(settings.routing)
    broker = connect(settings)
    patiently(broker.ping, stop=stop)
    check(broker, settings)
    DeskService(settings, broker, routing, open_database(settings.database)).run(stop)
    return 0


def web(options: argparse.Namespace, settings: Settings) -> int:
    """Serve the web console."""
    from console.pictures import Pictures
    from console.records import open_database
    from console.users import Users
    from console.web.app import make_app
    from console.web.server import serve
    from shared.images import ImageStore
    from shared.logs import configure
    from shared.routing import Routing
    from worker.attention import Explainer

    settings = settings.override(web_host=options.host, web_port=options.port)
    configure(settings, "web")
    stop = stop_on_signals()
    users = Users.load(settings.users_path)
    if not users.names():
        raise ConfigError(
            f"nobody may log in yet: {settings.users_path} has no user",
            remedy="make one with `almenara user add NAME --role operator --department WORD`",
        )
    routing = Routing.load(settings.routing)
    users.check_departments(routing.departments)
    explainer = Explainer(settings.checkpoint, settings.max_pixels)
    app = make_app(
        settings,
        connect(settings),
        open_database(settings.database, read_only=True),
        routing,
        users,
        Pictures(
            ImageStore(settings.image_store_url), settings.max_pixels, max_bytes=settings.max_file_bytes
        ),
        explain=explainer,
    )
    try:
        serve(app, settings, stop)
    finally:
        explainer.close()
    return 0


def decisions(options: argparse.Namespace, settings: Settings) -> int:
    """Copy decided pictures into a folder for training."""
    from console.decisions import export
    from console.records import check_record, open_database
    from shared.images import ImageStore

    engine = open_database(settings.database, read_only=True)
    check_record(engine)
    count = export(engine, ImageStore(settings.image_store_url), options.folder)
    sys.stdout.write(f"{count} decided pictures are in {options.folder}; `almenara train` reads it\n")
    return 0
