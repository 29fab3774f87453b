"""What each subcommand of `almenara` does: takes the parsed flags and the settings, returns an exit code.

Parts are imported where they are used, so that no command loads what it does not need, torch least of all.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from shared.broker import check, connect
from shared.errors import AlmenaraError, ConfigError
from shared.settings import Settings

# What the original study's seventh class, "Infrastructure Damage => Repair Unit, Transit Police", needs.
_STUDY_ROUTE = """\
  [departments]
  repair-unit = "Repair Unit"

  [situations.infrastructure_damage]
  name = "Infrastructure Damage"
  to = ["repair-unit", "transit-police"]
"""


def up(options: argparse.Namespace, settings: Settings) -> int:
    """Run everything until Ctrl-C."""
    from deploy.launcher import Launcher

    if options.inbox is not None:
        settings = settings.override(inbox=(options.inbox,))
    settings = settings.override(web_port=options.port)
    return Launcher(settings).run()


def status(options: argparse.Namespace, settings: Settings) -> int:
    """Show the state of everything."""
    from rich.console import Console

    from deploy.status import gather, lines, rejected_lines
    from deploy.watching import stream, watch
    from ingest.rejects import Rejects

    if options.rejected:
        listing = Rejects(settings.rejected_dir).listing()
        _print(
            json.dumps([asdict(each) for each in listing])
            if options.json
            else "\n".join(rejected_lines(listing))
        )
        return 0
    broker = connect(settings)
    if options.live:
        with contextlib.suppress(KeyboardInterrupt):
            if options.json:
                stream(lambda: gather(broker, settings))
            else:
                watch(lambda: gather(broker, settings), Console(highlight=False))
        return 0
    found = gather(broker, settings)
    _print(json.dumps(found) if options.json else "\n".join(lines(found)))
    return 0


def doctor(options: argparse.Namespace, settings: Settings) -> int:
    """Check everything; 1 where something failed."""
    from rich.console import Console

    from deploy.doctor import Health, examine

    if options.settings:
        rows = settings.described()
        if options.json:
            _print(json.dumps({variable: value for variable, value, _ in rows}))
        else:
            _print("\n".join(f"{variable}={value}\n    {about}" for variable, value, about in rows))
        return 0
    screen = Console(soft_wrap=True, highlight=False)
    colours = {Health.OK: "green", Health.WARNING: "yellow", Health.FAILED: "red"}
    findings = []
    for finding in examine(settings, connect(settings)):
        findings.append(finding)
        if not options.json:
            screen.print(f"[{colours[finding.health]}]{finding.health:>7}[/]  {finding.subject}: ", end="")
            screen.print(finding.detail + (f". {finding.remedy}." if finding.remedy else ""), markup=False)
    if options.json:
        _print(json.dumps([asdict(finding) for finding in findings]))
    return int(any(finding.health is Health.FAILED for finding in findings))


def predict(options: argparse.Namespace, settings: Settings) -> int:
    """Judge photographs; 1 where one can't be read."""
    from deploy.predict import line
    from deploy.predict import predict as predicted

    bad = 0
    for record in predicted(options.photographs, settings):
        bad += "error" in record
        _print(json.dumps(record) if options.json else line(record))
    return int(bad > 0)


def audit(options: argparse.Namespace, settings: Settings) -> int:
    """Compare everything; 1 where it does not balance."""
    from rich.console import Console

    from deploy.audit import as_json, audit, lines
    from shared.images import ImageStore

    broker = connect(settings)
    check(broker, settings)
    store = ImageStore(settings.image_store_url)
    with Console(stderr=True).status("looking") as spinner:
        result = audit(broker, store, settings, repair=options.repair, progress=spinner.update)
    _print(json.dumps(as_json(result)) if options.json else "\n".join(lines(result, options.repair)))
    return int(not result.balanced)


def demo(options: argparse.Namespace, settings: Settings) -> int:
    """Replay photographs or drawings."""
    from rich.console import Console
    from rich.progress import Progress

    from deploy.demo import DEFAULT_BOX, DRAWN, drawings, find_pictures, parse_box, replay

    if not 0 < options.rate <= 10_000:
        raise ConfigError(
            f"--rate {options.rate} is not above 0", remedy="give photographs a second, such as 2"
        )
    box = parse_box(options.box) if options.box else DEFAULT_BOX
    inbox = (options.inbox or settings.inbox[0]).resolve()
    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory() as scratch:
        if options.folder is None:
            screen.print("Drawings, to see how things move: what the model says of a drawing means nothing.")
            pictures, total = drawings(Path(scratch), options.seed), DRAWN
        else:
            found = find_pictures(options.folder)
            pictures, total = (path.read_bytes() for path in found), len(found)
        with Progress(console=screen, transient=True) as progress:
            task = progress.add_task(f"into {inbox}", total=total)
            for _ in replay(pictures, inbox, box=box, rate_per_s=options.rate, seed=options.seed):
                progress.advance(task)
    screen.print(f"{total} pictures are in {inbox}. `console all` shows what becomes of them.")
    return 0


def train(options: argparse.Namespace, settings: Settings) -> int:
    """Make a checkpoint of a folder of labelled photographs."""
    from rich.console import Console

    from training.head import chosen_views
    from training.run import Run
    from training.run import train as trained

    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    # By measurement (models/README.md): with labels alone, all layers do no better than the last one.
    recipe = options.recipe or ("tune" if options.teacher else "head")
    run = Run(
        folder=options.folder,
        out=options.out or Path("runs") / f"{recipe}-{options.seed}",
        recipe=recipe,
        init=options.init,
        seed=options.seed,
        leave_out=options.without,
        epochs=options.epochs,
        teacher=options.teacher,
        unlabelled=options.unlabelled,
        grouped=not options.ungrouped,
        plain_loop=options.plain_loop,
        views=chosen_views(options.views) if options.views is not None else None,
    )
    try:
        saved = trained(
            run,
            check_classes=lambda classes: _warn_without_route(classes, settings),
            console=screen,
            say=_print_now,
        )
    except KeyboardInterrupt:
        again = "; the same command goes on after the last epoch" if run.recipe == "tune" else ""
        sys.stderr.write(f"almenara: stopped before the end; nothing is written to {run.out}{again}\n")
        return 130
    _print(f"wrote {saved.path} ({saved.model_id}); the report is {run.out / 'report.html'}")
    return 0


def evaluate(options: argparse.Namespace, _: Settings) -> int:
    """Measure a checkpoint on a labelled folder."""
    from rich.console import Console

    from shared.checkpoint import Checkpoint
    from training.scoring import score_folder, table

    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    measured = score_folder(
        Checkpoint.load(options.checkpoint),
        options.folder,
        split=options.split,
        leave_out=options.without,
        console=screen,
    )
    lines = table(measured)
    del measured["misdirected_rate"]  # not among the fields that scripts may rely on
    _print(json.dumps(measured) if options.json else "\n".join(lines))
    return 0


def optimise(options: argparse.Namespace, settings: Settings) -> int:
    """Quantise a checkpoint; 1 where the result is not good enough."""
    from rich.console import Console

    from deploy.quantisation import lines
    from deploy.quantisation import optimise as optimised
    from shared.checkpoint import Checkpoint

    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    outcome = optimised(Checkpoint.load(options.checkpoint), options.folder, settings, console=screen)
    _print("\n".join(lines(outcome)))
    if outcome.refusal:
        raise AlmenaraError(
            f"int8 is refused: {outcome.refusal}",
            remedy="nothing is kept, and workers go on without; other pictures may give a better one",
        )
    _print(
        f"kept {outcome.path}: this machine's workers with ALMENARA_ENGINE=auto use it from their next start "
        "on, or once the model is announced again"
    )
    return 0


def import_model(options: argparse.Namespace, settings: Settings) -> int:
    """Make a checkpoint of an old model file."""
    from training.old_models import import_model as imported

    out = options.out or options.old.with_suffix(".safetensors")
    if out.exists():
        raise ConfigError(f"{out} is there already", remedy="name another file with --out, or remove it")
    checkpoint = imported(
        options.old,
        [name for name in options.classes.split(",") if name.strip()],
        temperature=options.temperature,
        dispatch=options.dispatch,
        no_emergency=options.no_emergency,
    )
    saved = checkpoint.save(out)
    _print(f"wrote {saved.path} ({saved.model_id}): {', '.join(saved.classes)}")
    _warn_without_route(saved.classes, settings)
    return 0


def _warn_without_route(classes: Sequence[str], settings: Settings) -> None:
    """The worker refuses a model with a class that goes nowhere; better known when the model is made."""
    from shared.routing import Routing

    try:
        Routing.load(settings.routing).check_classes(classes)
    except ConfigError as error:
        sys.stderr.write(f"warning: {error} Until then the worker refuses this model.\n")
        if error.reason == "class_without_route" and "infrastructure_damage" in classes:
            sys.stderr.write(f"the original study's route, for {settings.routing}:\n{_STUDY_ROUTE}")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _print_now(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()  # an epoch may take minutes, and a file or a pipe would keep it back
