"""How cost grows: with workers, and with the size of the photographs."""

import os
import shutil
from collections.abc import Sequence

from benchmarks.comparison import Plan, flooded, ready, reason, say
from benchmarks.contenders import Contender
from benchmarks.limit import Limit
from benchmarks.ours import Almenara
from benchmarks.photographs import Album, resized
from benchmarks.rig import Row
from shared.settings import Settings

MEGAPIXELS = (0.1, 1.0, 12.0)
DIFFERENT = 16
"""Pictures of each size; making more of 12 megapixels takes longer than measuring them."""


def workers(settings: Settings, album: Album, engine: str, plan: Plan) -> list[Row]:
    """Images a second of one and of two workers, on the engine that is the default here."""
    halves = max(1, (os.cpu_count() or 1) // 2)
    entrants = {
        "1 worker": Almenara(engine),
        "2 workers": Almenara(engine, workers=2),
        f"2 workers, ALMENARA_THREADS={halves}": Almenara(engine, workers=2, threads=halves),
    }
    return _measure(f"workers, flooded, {engine}", settings, album, entrants, plan)


def sizes(settings: Settings, album: Album, engine: str, plan: Plan) -> list[Row]:
    """Images a second of small and large photographs, ours beside the limit."""
    rows = []
    for megapixels in MEGAPIXELS:
        folder = settings.state_dir.parent / "resized"
        sized = resized(album, folder, megapixels, min(DIFFERENT, len(album.pictures)))
        entrants: dict[str, Contender] = {"limit: bare loop": Limit(engine), "Almenara": Almenara(engine)}
        rows += _measure(f"{megapixels:g} megapixels, flooded, {engine}", settings, sized, entrants, plan)
        shutil.rmtree(folder)
    return rows


def _measure(
    what: str,
    settings: Settings,
    album: Album,
    entrants: "dict[str, Almenara] | dict[str, Contender]",
    plan: Plan,
) -> list[Row]:
    """One row for each; the first is the base. Every second repeat goes the other way round."""
    rows = {name: Row(what, name, "images/s", [], is_base=not index) for index, name in enumerate(entrants)}
    for repeat in range(plan.repeats):
        turn: Sequence[str] = list(entrants)
        for name in turn if repeat % 2 == 0 else reversed(turn):
            say(f"{repeat + 1}/{plan.repeats}  {what}: {name}")
            try:
                with ready(entrants[name], settings, album):
                    rows[name].figures.append(flooded(entrants[name], plan.flood_s))
            except Exception as error:  # as in `compare`
                say(f"      not measured: {reason(error)}")
    return [row for row in rows.values() if row.figures]
