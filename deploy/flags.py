"""The subcommands of `almenara` and their flags: what `almenara COMMAND --help` shows."""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path

from deploy.model_flags import add_models
from shared.settings import Settings

_Add = Callable[..., argparse.ArgumentParser]
"""Adds a subcommand: its name, the function that runs it, what it does, examples."""

EPILOG = "Settings come from ALMENARA_... variables (`almenara doctor --settings` lists them); flags win."


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="almenara",
        description="Photographs of a street in, the right units of assistance out.",
        epilog=EPILOG,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: str, about: str, *examples: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog="examples:\n"
            + "\n".join(f"  almenara {each}".rstrip() for each in examples)
            + f"\n\n{EPILOG}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=_later(run))
        return command

    _add_services(add)
    _add_integrations(add)
    _add_views(add)
    _add_tools(add)
    _add_acl(add)
    _add_accounts(add)
    add_models(add)
    return parser


def _add_services(add: _Add) -> None:
    up = add("up", "up", "run everything on this machine until Ctrl-C", "up", "up --inbox /srv/cameras")
    up.add_argument(
        "--inbox", type=Path, metavar="DIR", help="folder that photographs land in (default: ./inbox)"
    )
    up.add_argument(
        "--port", type=int, metavar="N", help="port of the web console (default 8400; 0: any that is free)"
    )

    ingest = add(
        "ingest",
        "services.ingest",
        "take photographs from inbox folders into the queue",
        "ingest",
        "ingest /srv/cameras /srv/ftp",
        "ingest --retry 'state/rejected/1a2b3c4d5e6f/street.jpg' --as '33.8568, 151.2153.jpg'",
    )
    ingest.add_argument(
        "inbox", nargs="*", type=Path, metavar="DIR", help="inbox folders (default: ALMENARA_INBOX)"
    )
    ingest.add_argument(
        "--retry", type=Path, metavar="FILE", help="put a rejected file back into its inbox, and end"
    )
    ingest.add_argument("--as", dest="new_name", metavar="NAME", help="with --retry: under this name")

    add(
        "worker",
        "services.worker",
        "classify queued photographs and dispatch",
        "worker",
        "worker  # as many as there are GPUs, CUDA_VISIBLE_DEVICES another one for each",
    )

    add("desk", "services.desk", "keep the record of open incidents, and the clock", "desk")

    web = add(
        "web",
        "services.web",
        "serve the web console",
        "web",
        "web --host 0.0.0.0 --port 8400  # behind a proxy that speaks TLS, see ALMENARA_WEB_URL",
    )
    web.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: this machine alone)")
    web.add_argument("--port", type=int, metavar="N", help="port (default 8400; 0: any that is free)")


def _add_views(add: _Add) -> None:
    console = add(
        "console",
        "consoles.console",
        "work with a department's dispatches at a terminal, or show them as they come",
        "console firefighters",
        "console firefighters --by 'Ana Ruiz'",
        "console all --plain",
        "console review --json --since 0 --no-follow",
    )
    console.add_argument("department", metavar="DEPARTMENT", help="a department, `review`, or `all`")
    form = console.add_mutually_exclusive_group()
    form.add_argument("--plain", action="store_true", help="the plain line, for scripts")
    form.add_argument("--json", action="store_true", help="the whole record, one JSON object a line")
    console.add_argument(
        "--since", metavar="ID|0", default="0", help="start after this entry (default 0: everything)"
    )
    console.add_argument("--no-follow", action="store_true", help="end after what is there")
    console.add_argument("--by", metavar="NAME", help="who acts here (default: the login name)")

    status = add(
        "status",
        "status",
        "show alarms, queue, incidents, workers, consoles, cameras and rejected files",
        "status",
        "status --live",
        "status --json",
    )
    status.add_argument("--live", action="store_true", help="again each second, until Ctrl-C")
    status.add_argument("--json", action="store_true", help="for scripts")
    status.add_argument("--rejected", action="store_true", help="list rejected files, why, and what to do")

    doctor = add(
        "doctor", "doctor", "check settings, broker, store, model and device", "doctor", "doctor --settings"
    )
    doctor.add_argument("--json", action="store_true", help="for scripts")
    doctor.add_argument("--settings", action="store_true", help="list every setting with its value")


def _add_tools(add: _Add) -> None:
    predict = add(
        "predict",
        "predict",
        "say what the model makes of photographs",
        "predict street.jpg",
        "predict *.jpg --json",
    )
    predict.add_argument("photographs", nargs="+", type=Path, metavar="PHOTO")
    predict.add_argument("--json", action="store_true", help="one JSON object a line")

    audit = add(
        "audit",
        "audit",
        "compare inbox, store, incidents, jobs and streams",
        "audit",
        "audit --repair",
        "audit --json",
    )
    audit.add_argument("--repair", action="store_true", help="queue again what has no incident or no job")
    audit.add_argument("--json", action="store_true", help="for scripts")

    demo = add(
        "demo",
        "demo",
        "replay photographs, or drawings, into the inbox under made-up coordinates",
        "demo",
        "demo ~/photographs --rate 5",
        "demo ~/photographs --box 19.3,-99.2,19.5,-99.0",
    )
    demo.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER", help="photographs (default: simple drawings)"
    )
    demo.add_argument("--rate", type=float, default=2.0, metavar="N", help="photographs a second (default 2)")
    demo.add_argument(
        "--box", metavar="LAT,LON,LAT,LON", help="two corners of where they are (default: Sydney)"
    )
    demo.add_argument("--seed", type=int, default=0, help="the same places for the same seed")
    demo.add_argument(
        "--inbox", type=Path, metavar="DIR", help="folder to put them into (default: ALMENARA_INBOX)"
    )


def _add_acl(add: _Add) -> None:
    acl = add(
        "acl",
        "acl.acl",
        "make one broker user for each role, which may do what it needs and nothing else",
        "acl",
        "acl --out /etc/almenara/acl --url rediss://broker.example.org:6380/0",
        "acl --out /etc/almenara/acl --rotate console-firefighters",
        "acl --out /etc/almenara/acl --consumer siren:firefighters",
        "acl --check",
    )
    acl.add_argument(
        "--out", type=Path, metavar="DIR", help="write users.acl and passwords there (read: STATE_DIR/acl)"
    )
    acl.add_argument("--url", metavar="URL", help="the broker's address, for a ROLE.url with each login")
    acl.add_argument("--rotate", metavar="ROLE", help="give this role a new password")
    acl.add_argument(
        "--consumer",
        metavar="NAME:DEPARTMENT[,DEPARTMENT]",
        help="with --out: add a user consumer-NAME for a program that takes dispatches as a consumer group",
    )
    acl.add_argument("--sentinel", action="store_true", help="add users for replicas and Sentinels")
    acl.add_argument("--drop", metavar="DEPARTMENT", help="no user any more for one that is gone")
    acl.add_argument("--check", action="store_true", help="compare the running broker's users with these")


def _add_accounts(add: _Add) -> None:
    user = add(
        "user",
        "accounts.user",
        "say who may log in to the web console",
        "user add ana --role operator --department firefighters",
        "user add marta --role reviewer --role operator --department all",
        "user passwd ana",
        "user token map-wall",
        "user list",
    )
    user.add_argument("do", choices=("add", "passwd", "token", "remove", "list"), help="what to do")
    user.add_argument("name", nargs="?", metavar="NAME")
    user.add_argument(
        "--role",
        action="append",
        default=[],
        choices=("viewer", "operator", "reviewer", "supervisor"),
        help="what they may do; may be repeated",
    )
    user.add_argument(
        "--department",
        action="append",
        default=[],
        metavar="WORD",
        help="a department, or all; may be repeated",
    )
    user.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="whose first line is the password; -: standard input",
    )
    user.add_argument("--revoke", action="store_true", help="with token: take it away")
    user.add_argument("--json", action="store_true", help="with list: for scripts")

    decisions = add(
        "decisions",
        "consoles.decisions",
        "copy what people decided into a folder that `almenara train` reads",
        "decisions ~/decided",
    )
    decisions.add_argument("folder", type=Path, metavar="FOLDER")


def _add_integrations(add: _Add) -> None:
    webhooks = add(
        "webhooks",
        "webhooks.webhooks",
        "post dispatches to other people's servers, signed",
        "webhooks",
        "webhooks --dead",
        "webhooks --replay cad --since 2026-11-24T10:00:00Z",
        "webhooks --forget cad",
    )
    what = webhooks.add_mutually_exclusive_group()
    what.add_argument("--dead", action="store_true", help="list what was given up, and why")
    what.add_argument("--replay", metavar="NAME", help="deliver a webhook's dead letters once more")
    what.add_argument("--forget", metavar="NAME", help="remove what the broker keeps for one that is gone")
    webhooks.add_argument("--since", metavar="TIME", help="with --dead and --replay: given up since then")
    webhooks.add_argument("--json", action="store_true", help="with --dead: one JSON object a line")

    replay = add(
        "replay",
        "webhooks.replay",
        "make a department's dispatches again from the desk's record, for who missed them",
        "replay firefighters --since 2026-11-24T10:00:00Z",
        "replay firefighters --since 2026-11-24T10:00:00Z --webhook cad",
    )
    replay.add_argument("department", metavar="DEPARTMENT", help="a department, or `review`")
    replay.add_argument("--since", metavar="TIME", required=True, help="decided at or after then")
    replay.add_argument("--webhook", metavar="NAME", help="have it deliver them, instead of printing them")


def _later(name: str) -> Callable[[argparse.Namespace, Settings], int]:
    """That function of deploy/commands.py, or of the module named before a full stop.

    Loaded when it is called: --help needs no torch.
    """
    module, _, function = f"commands.{name}".rpartition(".") if "." not in name else name.partition(".")

    def run(options: argparse.Namespace, settings: Settings) -> int:
        code: int = getattr(importlib.import_module(f"deploy.{module}"), function)(options, settings)
        return code

    return run
