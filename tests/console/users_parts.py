"""What the tests of users share. Processes of tests import it too, so nothing of pytest is in it."""

import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from console.users import User, Users, add_user
from shared.routing import Routing
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
ROUTING = Routing.load(Settings().routing)
WORDS = "correct horse battery"
OTHER_WORDS = "staple and some more"


def add(path: Path, name: str = "Ana Ruiz", password: str = WORDS, **changes: Any) -> User:
    """Add an operator of the firefighters."""
    given: dict[str, Any] = {"roles": ["operator"], "departments": ["firefighters"], **changes}
    return add_user(path, name, password, routing=ROUTING, **given)


def records(path: Path) -> list[dict[str, Any]]:
    """Users as the file has them."""
    listed: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["users"]
    return listed


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the file as somebody with an editor would."""
    table = json.loads(path.read_text(encoding="utf-8"))
    change(table)
    path.write_text(json.dumps(table), encoding="utf-8")


def environ() -> dict[str, str]:
    """For processes that import this module."""
    folders = (ROOT, ROOT / "tests", Path(__file__).parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}


def twelve_at_once(path: Path) -> None:
    """Log in from twelve threads, and print who got in and how much memory that took, in MiB."""
    users = Users.load(path)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda number: users.check("Ana Ruiz", WORDS + "!" * (number % 2)), range(12)))
    # Not ru_maxrss: Linux hands the tests' own high mark on to the processes they start.
    (taken_kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(json.dumps({"in": [each is not None for each in found], "taken_mib": int(taken_kib) // 1024}))
