"""What `almenara ingest`, `worker`, `desk` and `web` do: the services, one process each.

Parts are imported where they are used, so that no service loads what it does not need, torch least of all.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from shared import probes
from shared.broker import check, connect, patiently
from shared.errors import ConfigError
from shared.settings import Settings

WORKER_EXIT_S = 5.0


def ingest(options: argparse.Namespace, settings: Settings) -> int:
    """Run the ingest service, or try one rejected file again."""
    from ingest.checks import Checks
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
    probes.serve("ingest", settings, options.liveness, broker)
    checks = Checks(max_bytes=settings.max_file_bytes, max_pixels=settings.max_pixels)
    store = ImageStore(settings.image_store_url)
    service = IngestService(settings, broker, store, checks.check_quickly, checks.check)
    options.liveness.begin()
    service.run(stop)
    options.liveness.end()
    return 0


def worker(options: argparse.Namespace, settings: Settings) -> int:
    """Run one worker."""
    from shared.images import ImageStore
    from shared.logs import configure
    from shared.routing import Routing
    from worker.classifiers import Classifiers, announcement_at_start
    from worker.decoders import Decoders
    from worker.service import BatchWorker

    configure(settings, "worker")
    stop = options.liveness.watching(stop_on_signals())  # until the worker's own handlers are in place
    broker = connect(settings)
    probes.serve("worker", settings, options.liveness, broker)
    routing, decoders = Routing.load(settings.routing), Decoders(settings.max_pixels)
    store = ImageStore(settings.image_store_url)
    classifiers = Classifiers(
        settings, routing, store, decoders, patiently(lambda: announcement_at_start(broker), stop=stop)
    )
    make = partial(
        BatchWorker,
        settings,
        broker,
        classifiers.first(),
        routing,
        liveness=options.liveness,
        classifiers=classifiers,
    )
    service = patiently(make, stop=stop)
    del make  # it holds the first model, which a swap must be able to free
    decoders.warm_up()
    service.warm_up()
    code = 1
    try:
        if not stop():
            options.liveness.begin()
            service.work()
        code = 0
    finally:
        options.liveness.end()
        _end_whatever_hangs(code)
    return 0


def _end_whatever_hangs(code: int) -> None:
    """Give Python's own exit a few seconds: it waits for every thread, one that hangs in a driver too.

    Then it ends with `code` all the same: on a machine that is busy, an exit that is in order takes longer.
    """
    last_resort = threading.Timer(WORKER_EXIT_S, os._exit, (code,))
    last_resort.daemon = True
    last_resort.start()


def desk(options: argparse.Namespace, settings: Settings) -> int:
    """Run the desk."""
    from console.desk.calls import OpenCalls
    from console.desk.service import DeskService
    from console.records import open_database
    from shared.logs import configure
    from shared.routing import Routing
    from shared.vital_metrics import VitalsCollector

    configure(settings, "desk")
    stop = options.liveness.watching(stop_on_signals())
    routing = Routing.load(settings.routing)
    broker = connect(settings)
    vitals, calls = VitalsCollector(broker, settings, routing.departments), OpenCalls()
    probes.serve("desk", settings, options.liveness, broker, vitals, calls)
    check(broker, settings, stop=stop)
    service = DeskService(settings, broker, routing, open_database(settings.database), calls)
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
    from shared.model_files import Library
    from shared.routing import Routing
    from shared.vital_metrics import VitalsCollector
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
    broker = connect(settings)
    vitals = VitalsCollector(broker, settings, routing.departments)
    probes.serve("web", settings, options.liveness, broker, vitals)
    store = ImageStore(settings.image_store_url)
    library = Library(store, settings.state_dir)

    def announced(model: str) -> Path | None:
        return library.file(found) if (found := library.find(model)) else None

    explainer = Explainer(settings.checkpoint, settings.max_pixels, announced=announced)
    app = make_app(
        settings,
        broker,
        open_database(settings.database, read_only=True),
        routing,
        users,
        Pictures(store, settings.max_pixels, max_bytes=settings.max_file_bytes),
        explain=explainer,
    )
    try:
        serve(app, settings, stop, listening=lambda _: options.liveness.begin())
    finally:
        options.liveness.end()
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
