"""Situations, departments, and which goes to which. Words come from the routing file, never from code."""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ConfigError

REVIEW = "review"
"""The stream of what a person must decide. A role, so no department may have this name."""

ALL = "all"
"""What `almenara console` calls every department at once."""

NORMAL = "normal"
"""The model's class for a street where nothing is wrong; it routes to nobody. Any other is a situation."""

_WORD = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")


@dataclass(frozen=True)
class Situation:
    """One kind of emergency: its wire word, its name for people, and who must go."""

    word: str
    name: str
    departments: tuple[str, ...]


@dataclass(frozen=True)
class Routing:
    """The routing file.

    Attributes:
        departments: wire word -> name for people.
        situations: wire word -> Situation.
        fallback: department, or ``review``, -> who is called where it does not answer.
    """

    departments: dict[str, str]
    situations: dict[str, Situation]
    fallback: dict[str, str]

    @classmethod
    def load(cls, path: Path) -> "Routing":
        """Read and check a routing file.

        Raises:
            ConfigError: it can't be read, or a word, name or department in it is wrong; all faults at once.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"routing file {path} can't be read: {error.strerror}",
                remedy="set ALMENARA_ROUTING to one that can",
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(
                f"routing file {path} is not TOML: {error}", remedy="correct that line"
            ) from error
        departments, situations = table.get("departments", {}), table.get("situations", {})
        fallback = table.get("fallback", {})
        faults = [*_faults(departments, situations), *_fallback_faults(departments, fallback)]
        if faults:
            raise ConfigError(
                f"routing file {path}: " + "; ".join(faults), remedy="compare shared/routing.toml"
            )
        return cls(
            departments=dict(departments),
            situations={
                word: Situation(word, route["name"], tuple(route["to"])) for word, route in situations.items()
            },
            fallback=dict(fallback),
        )

    def check_classes(self, classes: Iterable[str]) -> None:
        """Every class of a checkpoint, but `normal`, has a route.

        Raises:
            ConfigError: naming the classes that go nowhere.
        """
        lost = [word for word in classes if word != NORMAL and word not in self.situations]
        if lost:
            raise ConfigError(
                f"the checkpoint knows {', '.join(lost)}, which the routing file sends nowhere",
                reason="class_without_route",
                remedy="add a [situations.…] entry for each to the routing file, or use another checkpoint",
            )

    def units(self, situation: str, departments: Sequence[str] | None = None) -> str:
        """What people read: ``Accident => Towing Unit, Ambulance and Transit Police``.

        A situation or department that left the routing file is shown by its word.
        """
        route = self.situations.get(situation) or Situation(situation, named(situation), ())
        listed_words = route.departments if departments is None else departments
        names = [self.departments.get(word, named(word)) for word in listed_words]
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        return f"{route.name} => {listed}"

    def streams(self, situation: str) -> tuple[str, ...]:
        """Departments that a situation is dispatched to."""
        return self.situations[situation].departments


def named(word: str) -> str:
    """A wire word as people read it, where no file gives it a name: ``flood_risk`` is ``Flood Risk``."""
    return word.replace("_", " ").replace("-", " ").title()


def _fallback_faults(departments: Any, fallback: Any) -> Iterable[str]:
    if not isinstance(fallback, dict):
        yield "[fallback] is no table"
        return
    known = departments if isinstance(departments, dict) else {}
    for word, to in fallback.items():
        if word not in known and word != REVIEW:
            yield f"[fallback] names {word!r}, which is not in [departments]"
        if not isinstance(to, str) or to not in known:
            yield f"the fallback of {word!r} is {to!r}, which is not in [departments]"
        elif to == word:
            yield f"the fallback of {word!r} is itself"


def _faults(departments: Any, situations: Any) -> Iterable[str]:
    if not isinstance(departments, dict) or not departments:
        yield "[departments] is missing"
        departments = {}
    if not isinstance(situations, dict) or not situations:
        yield "there is no [situations.…]"
        situations = {}
    for word, name in departments.items():
        if not _WORD.fullmatch(word) or word in {REVIEW, ALL}:
            yield f"department {word!r} is not a small-letter word, or is {REVIEW!r} or {ALL!r}"
        if not isinstance(name, str) or not name.strip():
            yield f"department {word!r} has no name"
    for word, route in situations.items():
        if not _WORD.fullmatch(word) or word == NORMAL:
            yield f"situation {word!r} is not a small-letter word, or is {NORMAL!r}"
        if not isinstance(route, dict) or not isinstance(route.get("name"), str) or not route["name"].strip():
            yield f"situation {word!r} has no name"
            continue
        to = route.get("to")
        if not isinstance(to, list) or not to:
            yield f"situation {word!r} goes to nobody"
            continue
        for department in to:
            if not isinstance(department, str) or department not in departments:
                yield f"situation {word!r} goes to {department!r}, which is not in [departments]"
        if len(set(map(str, to))) != len(to):
            yield f"situation {word!r} names a department twice"
