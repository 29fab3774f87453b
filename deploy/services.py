"""What `almenara ingest`, `worker`, `desk` and `web` do: the services, one process each.

Parts are imported where they are used, so that no service loads what it does not need, torch least of all.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable

from shared.broker import check, connect, patiently
from shared.errors import ConfigError
from shared.settings import Settings

WORKER_EXIT_S = 5.0


def ingest(options: argparse.Namespace, settings: Settings) -> int:
    """Run the ingest service, or try one rejected file again."""
    from ingest.rejects import Rejects
    from ingest.service import IngestService
    from shared.images import ImageStore
    from shared.labels import escape_label
    from shared.logs import configure

    if options.new_name and not options.retry:
        raise ConfigError("--as needs --retry", remedy="see `almenara ingest --help`")
    if options.retry:
        target = Rejects(settings.rejected_dir).retry(options.retry, options.new_name)
        sys.stdout.write(f"back in the inbox: {escape_label(str(target))}\n")
        return 0
    if options.inbox:
        settings = settings.override(inbox=tuple(options.inbox))
    configure(settings, "ingest")
    stop = options.liveness.watching(stop_on_signals())
    broker = connect(settings)
    service = IngestService(settings, broker, ImageStore(settings.image_store_url))
    options.liveness.begin()
    service.run(stop)
    options.liveness.end()
    return 0


def worker(options: argparse.Namespace, settings: Settings) -> int:
    """Run one worker."""
    from shared.checkpoint import Checkpoint
    from shared.images import ImageStore
    from shared.logs import configure
    from shared.routing import Routing
    from worker.batches import Classifier
    from worker.engines import make_engine
    from worker.service import BatchWorker

    configure(settings, "worker")
    stop = options.liveness.watching(stop_on_signals())  # until the worker's own handlers are in place
    checkpoint = Checkpoint.load(settings.checkpoint)
    routing = Routing.load(settings.routing)
    routing.check_classes(checkpoint.classes)
    engine = make_engine(settings.engine, checkpoint, settings.threads, state_dir=settings.state_dir)
    classifier = Classifier(checkpoint, engine, ImageStore(settings.image_store_url), settings.max_pixels)
    broker = connect(settings)
    service = patiently(lambda: BatchWorker(settings, broker, classifier, routing), stop=stop)
    service.warm_up()
    try:
        if not stop():
            options.liveness.begin()
            service.work()
    finally:
        _end_whatever_hangs()
    return 0


def _end_whatever_hangs() -> None:
    """Give Python's own exit a few seconds: it waits for every thread, one that hangs in a driver too."""
    last_resort = threading.Timer(WORKER_EXIT_S, os._exit, (1,))
    last_resort.daemon = True
    last_resort.start()


def desk(options: argparse.Namespace, settings: Settings) -> int:
    """Run the desk."""
    from console.desk.service import DeskService
    from console.records import open_database
    from shared.logs import configure
    from shared.routing import Routing

    configure(settings, "desk")
    stop = options.liveness.watching(stop_on_signals())
    routing = Routing.load(settings.routing)
    broker = connect(settings)
    patiently(broker.ping, stop=stop)
    check(broker, settings)
    service = DeskService(settings, broker, routing, open_database(settings.database))
    options.liveness.begin()
    service.run(stop)
    options.liveness.end()
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
    stop = options.liveness.watching(stop_on_signals())
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
        serve(app, settings, stop, listening=lambda _: options.liveness.begin())
    finally:
        explainer.close()
    return 0


def stop_on_signals() -> Callable[[], bool]:
    """A function that turns true at the first SIGINT or SIGTERM; the second one ends the process at once."""
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)
        if len(received) > 1:
            raise SystemExit(1)

    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
    return lambda: bool(received)
