import re
import sys
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_parts import drawing, random_checkpoint, single_threaded

from shared.verdict import judge
from training.dataset import Photograph
from training.outcome import Outcome, Scored
from training.plots import WITHOUT
from training.report import MISTAKES, write_report

CLASSES = ("fire", "protest", "normal")
VOID = {"meta", "img", "br"}
SECTIONS = (
    "figures",
    "desk",
    "classes",
    "confusion",
    "confidence",
    "poor",
    "epochs",
    "mistakes",
    "right",
    "split",
    "unreadable",
    "config",
)
EPOCHS = ({"epoch": 0, "loss": 1.25, "val_accuracy": 0.5}, {"epoch": 1, "loss": 0.0625})


class Page(HTMLParser):
    """What a browser would make of a page; every element is closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.text = html, ""
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        self.words = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += f" {data}"

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of this name."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


def photographs(folder: Path, count: int = 12) -> list[Photograph]:
    """Drawings in JPEG, wider than high, two of each event; the first has a stranger's name."""
    random, found = np.random.default_rng(0), []
    for number in range(count):
        name = "<img src=x>\u202e.jpg" if number == 0 else f"{number}.jpg"
        label = CLASSES[number % 3]
        path = folder / f"{number}.jpg"
        drawing(label, random).resize((96, 48)).save(path)
        found.append(
            Photograph(path=path, name=name, split="val", label=label, group=f"{label}{number // 6}")
        )
    return found


def report_on(shown: list[Photograph], *, wrong: int = 3) -> Outcome:
    """A model that is wrong, and sure, about the first photographs, and right about the others."""
    logits = np.zeros((len(shown), 3))
    for position, photograph in enumerate(shown):
        says = (CLASSES.index(photograph.label) + (position < wrong)) % 3
        logits[position, says] = 5 - position / len(shown)
    checkpoint = replace(
        random_checkpoint(*CLASSES),
        metrics={"val_degraded": {"dark": {"accuracy": 0.4321, "macro_f1": 0.4, "six_macro_f1": None}}},
        config={"recipe": "head", "views": ["plain", "<b>"], "seed": 7},
        data_fingerprint="0123456789ab",
        code_version="0.1.0",
        path=Path("street2-resnet34.safetensors"),
        fingerprint="ba9876543210",
    )
    return Outcome(
        checkpoint=checkpoint,
        scored=Scored(photographs=shown, logits=logits),
        epochs=EPOCHS,
        split=["No group is on both sides & all is well."],
        unreadable=[("<script>.jpg", "the file is empty")],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    write_report(report_on(photographs(tmp_path_factory.mktemp("photographs"))), folder)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_needs_nothing_beside_it(page: Page) -> None:
    """No script, no address outside the page, every picture inside it; and a browser is told so."""
    assert re.search(r"https?://|url\(|@import", page.html) is None
    assert {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object"} == set()
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert all(anchor["href"].startswith("#") for anchor in page.all("a"))
    assert "default-src 'none'" in page.all("meta")[2]["content"]


def test_sections_come_in_their_order(page: Page) -> None:
    """Model first, then figures, what they mean for a desk, and so on to the configuration."""
    headings = [heading["id"] for heading in page.all("h2")]
    assert headings == list(SECTIONS)
    assert [anchor["href"] for anchor in page.all("a") if anchor["href"][1:] not in headings] == []
    assert page.words.index("Training report: street2-resnet34@ba9876543210") < page.words.index(
        "How good it is"
    )
    for fact in ("fire, protest, normal", "0123456789ab", "0.1.0", "12 photographs of 6 events", "UTC"):
        assert fact in page.words


def test_what_strangers_wrote_stays_text(page: Page) -> None:
    """A file name with a tag and a control character in it does nothing but show itself."""
    assert "<img src=x>\\u202E.jpg" in page.words
    assert "\u202e" not in page.html
    assert "<script>.jpg" in page.words
    assert '["plain", "<b>"]' in page.words
    assert all("alt" in image and image["alt"] for image in page.all("img"))


def test_figures_have_their_intervals(page: Page) -> None:
    """Nine of twelve were right, in two events of each class; the calibration error has no interval."""
    assert re.search(
        r"Accuracy share of photographs whose class was found 0\.750 0\.\d{3} to [01]\.\d{3}", page.words
    )
    assert re.search(r"Macro-F1 [^.]* 0\.750 0\.\d{3} to [01]\.\d{3}", page.words)
    assert re.search(r"ECE\) [^.]*0 is best 0\.\d{3} –", page.words)
    for name in CLASSES:
        assert re.search(rf"{name} 4 2 0\.750 0\.\d{{3}} to 1\.000 0\.750 0\.\d{{3}} to 1\.000", page.words)


def test_a_desk_is_told_what_to_expect(page: Page) -> None:
    """One of four normal streets is dispatched, one of eight emergencies missed, one misdirected."""
    # The mistakes go round: fire said protest, protest said normal, normal said fire.
    assert "if 10 are emergencies (1 %) and 990 are not" in page.words
    assert re.search(r"somebody is sent 247\.5 0\.0 to \d", page.words)
    assert re.search(r"nobody is told about 1\.2 ", page.words)
    assert re.search(r"as another situation 1\.2 ", page.words)
    assert re.search(r"as what it is 7\.5 ", page.words)
    assert "without it and its event" not in page.words
    assert "So of about 256.2 dispatches, 8.8 are about an emergency." in page.words


def test_tables_say_what_the_plots_show(page: Page) -> None:
    """Confusion, bins, poor pictures, epochs: in numbers too, and headed."""
    assert "fire 3 1 0 protest 0 3 1 normal 1 0 3" in page.words
    assert "dark 0.432" in page.words
    assert "epoch loss val_accuracy 0 1.25 0.5 1 0.0625 –" in page.words
    assert len(re.findall(r"\d % to \d", page.words)) == 10
    assert all(cell.get("scope") in {"row", "col"} for cell in page.all("th"))


def test_mistakes_are_shown_with_their_maps(page: Page) -> None:
    """Three mistakes, the surest first, and two right ones of each class: a photograph and a map each."""
    said = re.findall(r"Shows (\w+) ; the model said (\w+) , (\d+\.\d) % sure", page.words)
    assert [pair[:2] for pair in said[:3]] == [("fire", "protest"), ("protest", "normal"), ("normal", "fire")]
    assert [pair[:2] for pair in said[3:]] == [(name, name) for name in CLASSES for _ in range(2)]
    assert said[0][2] > said[1][2]
    pictures = [image for image in page.all("img") if image["src"].startswith("data:image/jpeg")]
    assert len(pictures) == 2 * len(said) == 18
    assert pictures[1]["alt"].startswith("Its map for protest, brightest at the ")
    for picture in pictures:
        with Image.open(BytesIO(b64decode(picture["src"].partition(",")[2]))) as image:
            assert image.size == (64, 32)


def test_split_and_unreadable_are_shown_as_they_are(page: Page) -> None:
    """The sentences that the recipe found, and the reason of every photograph left out."""
    assert "No group is on both sides & all is well." in page.words
    assert "Left out: 1. Photograph Reason <script>.jpg the file is empty" in page.words


def test_plots_stand_beside_and_inside(page: Page, folder: Path) -> None:
    """Each is a file of its own, the very one that the page holds."""
    pytest.importorskip("matplotlib", reason="matplotlib, of the extra `train`, is not installed")
    beside = {path.read_bytes(): path.name for path in folder.glob("*.png")}
    assert set(beside.values()) == {"confusion.png", "loss.png", "reliability.png", "val_accuracy.png"}
    inside = [image for image in page.all("img") if image["src"].startswith("data:image/png")]
    assert {b64decode(image["src"].partition(",")[2]) for image in inside} == set(beside)
    assert "loss against epochs: from 1.25 to 0.0625, highest 1.25 in epoch 0." in [
        image["alt"] for image in inside
    ]


def test_without_matplotlib_the_report_is_written(
    tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to install, and holds everything but the plots."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (tmp_path / "out").mkdir()
    assert write_report(report_on(photographs(tmp_path)), tmp_path / "out") == WITHOUT
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    bare = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert WITHOUT in bare.words
    assert len(bare.all("table")) == len(page.all("table"))
    assert "data:image/png" not in bare.html


def test_what_there_is_not_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No epoch, no mistake, no normal photograph, a photograph that has gone: a sentence each, no failure."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    shown = [photograph for photograph in photographs(tmp_path) if photograph.label != "normal"]
    shown[1].path.unlink()
    report = replace(report_on(shown, wrong=0), epochs=[], split=[], unreadable=[])
    judged = [judge(row, CLASSES, 1.0, report.checkpoint.thresholds) for row in report.scored.logits]
    report = replace(report, scored=replace(report.scored, judgements=judged))
    write_report(replace(report, checkpoint=replace(report.checkpoint, metrics={}, config={})), tmp_path)
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    for words in (
        "This recipe has no epochs",
        "It made none on these photographs",
        "the rest can't be told",
        "limits chosen without it and its event",
        "somebody is sent – –",
        "No picture: [Errno 2] No such file",
        "None: all were read.",
        "Nothing was recorded about the split.",
    ):
        assert words in found.words
    assert "poor" not in [heading["id"] for heading in found.all("h2")]


def test_only_the_worst_mistakes_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many, those that the model was surest of, and how many there are."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    shown = photographs(tmp_path, MISTAKES + 6)
    write_report(report_on(shown, wrong=len(shown)), tmp_path)
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert f"The {MISTAKES} of {MISTAKES + 6} mistakes that it was surest of." in found.words
    assert "It was never right on these photographs." in found.words
    assert len(found.all("img")) == 2 * MISTAKES
    assert f" {MISTAKES - 1}.jpg" in found.words
    assert f" {MISTAKES}.jpg" not in found.words
