"""The report of a training run: one page that opens offline, with every figure a department would ask for."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shared.labels import escape_label
from training.album import Album, Picture, data_address
from training.figures import EMERGENCIES, PICTURES, Figures, Share, count_figures, right_ones
from training.intervals import Interval
from training.outcome import Outcome, Row
from training.plots import draw, draw_confusion, draw_reliability

NAME = "report.html"
MISTAKES = 24
"""So many of the mistakes are shown, those that the model was surest of."""

_NOTHING = "–"


def write_report(outcome: Outcome, folder: Path) -> str:
    """Write ``report.html``, which needs nothing beside it, and its plots as PNG files.

    Args:
        outcome: what it is made of.
        folder: where it goes; it must exist.

    Returns:
        Why there are no plots, or an empty string.

    Raises:
        OSError: something can't be written; what was written before stays.
    """
    checkpoint, photographs = outcome.checkpoint, outcome.scored.photographs
    logits = np.asarray(outcome.scored.logits, dtype=np.float64)  # (N, C)
    figures = count_figures(checkpoint, photographs, logits, outcome.scored.judgements)
    no_plots = (
        draw_confusion(figures.confusion, checkpoint.classes, folder)
        or draw_reliability([b.confidence for b in figures.bins], [b.right for b in figures.bins], folder)
        or draw_epochs(outcome.epochs, folder)
    )
    columns = epoch_columns(outcome.epochs)
    album = Album(checkpoint)

    def picture(position: int) -> Picture:
        sure = float(figures.confidence[position])
        return album.picture(photographs[position], int(figures.said[position]), sure)

    page = _template().render(
        checkpoint=checkpoint,
        made_at=datetime.now(UTC),
        n=len(photographs),
        groups=len({photograph.group for photograph in photographs}),
        headline=_headline(figures),
        desk=_desk(figures),
        desk_total=_desk_total(figures),
        out_of_fold=outcome.scored.judgements is not None,
        pictures=PICTURES,
        emergencies=EMERGENCIES,
        per_class=_per_class(figures),
        confusion=list(zip(checkpoint.classes, figures.confusion.tolist(), strict=True)),
        bins=figures.bins,
        degraded=_degraded(figures, checkpoint.metrics.get("val_degraded", {})),
        columns=columns,
        epochs=[[_cell(row.get(column)) for column in columns] for row in outcome.epochs],
        courses={column: _course(outcome.epochs, columns[0], column) for column in columns[1:]},
        no_plots=no_plots,
        plots={} if no_plots else _plots(folder, ("confusion", "reliability", *columns[1:])),
        wrong=len(figures.wrong),
        mistakes=[picture(position) for position in figures.wrong[:MISTAKES]],
        right=[picture(position) for position in right_ones(figures, photographs, checkpoint.classes)],
        split=outcome.split,
        unreadable=outcome.unreadable,
        config=[(name, _words(value)) for name, value in checkpoint.config.items()],
    )
    (folder / NAME).write_text(page, encoding="utf-8")
    return no_plots


def epoch_columns(epochs: Sequence[Row]) -> list[str]:
    """The columns of an epoch table, in order; a row may lack some."""
    return list(dict.fromkeys(column for row in epochs for column in row))


def draw_epochs(epochs: Sequence[Row], folder: Path) -> str:
    """Draw every column of an epoch table against its first; why there is no plot, or an empty string."""
    first, *others = epoch_columns(epochs) or [""]
    curves = {column: [row.get(column, float("nan")) for row in epochs] for column in others}
    return draw([row[first] for row in epochs], curves, folder)


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Names come from strangers: beyond HTML, no control or bidirectional character reaches the page.
        finalize=lambda value: escape_label(value) if type(value) is str else value,
    )
    environment.filters |= {"figure": _figure, "percent": _percent}
    return environment.get_template(f"{NAME}.jinja")


def _headline(figures: Figures) -> list[tuple[str, str, str, str]]:
    """Name, figure, interval and one line of meaning each."""
    measured, six = figures.measured, figures.measured["six"]
    of_all, of_six, shares = figures.intervals, figures.six, figures.shares
    return [
        (
            "Accuracy",
            _figure(measured["accuracy"]),
            _span(of_all.accuracy),
            "share of photographs whose class was found",
        ),
        (
            "Macro-F1",
            _figure(measured["macro_f1"]),
            _span(of_all.macro_f1),
            "mean of the classes' F1 below: rare classes weigh as much as frequent ones",
        ),
        (
            "Accuracy, situations alone",
            _figure(six["accuracy"]),
            _span(of_six.accuracy if of_six else None),
            "among photographs of emergencies, normal not being a choice",
        ),
        (
            "Macro-F1, situations alone",
            _figure(six["macro_f1"]),
            _span(of_six.macro_f1 if of_six else None),
            "mean of their F1 alone",
        ),
        (
            "Calibration error (ECE)",
            _figure(measured["ece"]),
            _NOTHING,
            "how far, on average, the model's confidence is from how often it is right; 0 is best",
        ),
        ("Unsure", *_rate(shares["unsure"]), "left for a person to decide"),
        ("False alarms", *_rate(shares["false_alarms"]), "share of normal photographs that are dispatched"),
        ("Missed emergencies", *_rate(shares["missed"]), "share of emergencies filed as no emergency"),
        (
            "Misdirected",
            *_rate(shares["misdirected"]),
            "share of emergencies dispatched as another situation",
        ),
    ]


def _desk(figures: Figures) -> list[tuple[str, str, str]]:
    """What to expect, how often, and the interval of that."""
    shares, normal = figures.shares, PICTURES - EMERGENCIES
    asked = [shares["unsure_normal"].times(normal).value, shares["unsure_emergency"].times(EMERGENCIES).value]
    unsure = None if None in asked else sum(count for count in asked if count is not None)
    rows = [
        ("False alarms: nothing is wrong, and somebody is sent", shares["false_alarms"].times(normal)),
        ("Missed: an emergency that nobody is told about", shares["missed"].times(EMERGENCIES)),
        (
            "Misdirected: an emergency dispatched as another situation",
            shares["misdirected"].times(EMERGENCIES),
        ),
        ("Right at once: an emergency dispatched as what it is", shares["right_at_once"].times(EMERGENCIES)),
        ("Unsure: a person is asked", Share(value=unsure, interval=None)),
    ]
    return [(name, _figure(share.value, 1), _span(share.interval, 1)) for name, share in rows]


def _desk_total(figures: Figures) -> tuple[str, str] | None:
    """How many dispatches to expect, and how many of them of an emergency; None where that can't be told."""
    false = figures.shares["false_alarms"].times(PICTURES - EMERGENCIES).value
    sent = [figures.shares[name].times(EMERGENCIES).value for name in ("right_at_once", "misdirected")]
    if false is None or sent[0] is None or sent[1] is None:
        return None
    return _figure(false + sent[0] + sent[1], 1), _figure(sent[0] + sent[1], 1)


def _per_class(figures: Figures) -> list[tuple[str, int, int, list[tuple[str, str]]]]:
    """Class, photographs, groups, and precision, recall and F1 with the interval of each."""
    intervals = figures.intervals
    return [
        (
            name,
            row["n"],
            int(figures.groups[position]),
            [
                (_figure(row["precision"]), _span(intervals.precision[position])),
                (_figure(row["recall"]), _span(intervals.recall[position])),
                (_figure(row["f1"]), _span(intervals.f1[position])),
            ],
        )
        for position, (name, row) in enumerate(figures.measured["per_class"].items())
    ]


def _degraded(
    figures: Figures, degraded: Mapping[str, Mapping[str, float | None]]
) -> list[tuple[str, list[str]]]:
    """View, and accuracy, macro-F1, and that of the situations alone; the photographs as they are first."""
    if not degraded:
        return []
    plain = figures.measured
    as_they_are = [plain["accuracy"], plain["macro_f1"], plain["six"]["macro_f1"]]
    rows = [("as they are", as_they_are)]
    rows += [
        (view, [found["accuracy"], found["macro_f1"], found["six_macro_f1"]])
        for view, found in degraded.items()
    ]
    return [(view, [_figure(value) for value in values]) for view, values in rows]


def _plots(folder: Path, names: Sequence[str]) -> dict[str, Markup]:
    return {name: data_address((folder / f"{name}.png").read_bytes(), "image/png") for name in names}


def _course(epochs: Sequence[Row], first: str, column: str) -> str:
    """A curve in words, for those who can't see it."""
    rows = [row for row in epochs if column in row]
    best = max(rows, key=lambda row: row[column])
    begin, end = _cell(rows[0][column]), _cell(rows[-1][column])
    return f"from {begin} to {end}, highest {_cell(best[column])} in epoch {_cell(best[first])}"


def _rate(share: Share) -> tuple[str, str]:
    return _percent(share.value), _span(share.times(100).interval, 1, " %")


def _span(interval: Interval | None, digits: int = 3, unit: str = "") -> str:
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}{unit}" if interval else _NOTHING


def _figure(value: float | None, digits: int = 3) -> str:
    return _NOTHING if value is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{100 * share:.1f} %"


def _cell(value: float | None) -> str:
    """A number of an epoch table: whole ones whole, others to four figures."""
    if value is None:
        return _NOTHING
    return str(int(value)) if float(value).is_integer() else f"{value:.4g}"


def _words(value: object) -> str:
    """A JSON value for people."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
