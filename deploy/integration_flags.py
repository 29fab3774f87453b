"""The flags of `almenara webhooks` and `replay`."""

import argparse
from collections.abc import Callable


def add_integrations(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add both commands; `add` takes a name, the function that runs it, what it does, and examples."""
    webhooks = add(
        "webhooks",
        "webhooks.webhooks",
        "post dispatches to other people's servers, signed",
        "webhooks",
        "webhooks --dead",
        "webhooks --replay cad --since 2026-11-24T10:00:00Z",
    )
    what = webhooks.add_mutually_exclusive_group()
    what.add_argument("--dead", action="store_true", help="list what was given up, and why")
    what.add_argument("--replay", metavar="NAME", help="deliver a webhook's dead letters once more")
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
