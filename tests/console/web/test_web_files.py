"""The files that browsers get: they obey our own policy, and show what comes from outside as text."""

import re
from pathlib import Path

import pytest

WEB = Path(__file__).parents[3] / "console" / "web"
MODULES = sorted((WEB / "static" / "js").glob("*.js"))
STYLES = sorted((WEB / "static" / "css").glob("*.css"))
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
MADE = ("leaflet-", "hue-", "state-", "is-", "page-", "shows-", "did-")
"""What stands before a word of the wire in the name of a class."""
_MARKUP = r"\.innerHTML\s*=|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|dangerously"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_pages_obey_their_own_policy(path: Path) -> None:
    """No template has a style, a script of its own, a handler, or an address of somebody else."""
    source = path.read_text(encoding="utf-8")
    assert re.findall(r"\sstyle=|\son[a-z]+=|<style|https?://|javascript:", source) == []
    scripts = re.findall(r"<script[^>]*>", source)
    assert [tag for tag in scripts if "src=" not in tag and "application/json" not in tag] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_show_what_comes_from_outside_as_text(path: Path) -> None:
    """No module writes markup or runs text."""
    assert re.findall(_MARKUP, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_keep_their_size(path: Path) -> None:
    """A module is read in one sitting, and a line without scrolling."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 250
    assert [line for line in lines if len(line) > 130] == []


def test_every_class_that_is_styled_is_used() -> None:
    """A rule whose class no page has is a mistake, or left over."""
    everything = "\n".join(path.read_text(encoding="utf-8") for path in (*MODULES, *TEMPLATES))
    rules = "\n".join(path.read_text(encoding="utf-8") for path in STYLES)
    names = set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"/\*.*?\*/", "", rules, flags=re.DOTALL)))
    assert len(names) > 150
    assert {name for name in names if not name.startswith(MADE) and name not in everything} == set()


def test_every_module_that_is_imported_is_there() -> None:
    """A module asks for nothing but our own modules and Preact, and for names that they have."""
    known = {path.name: path.read_text(encoding="utf-8") for path in MODULES}
    asked = [
        (name, wanted.strip().split(" as ")[0], address)
        for name, source in known.items()
        for names, address in re.findall(r"import \{([^}]*)\} from \"([^\"]+)\"", source)
        for wanted in names.split(",")
        if address != "/static/vendor/preact/preact.js"
    ]
    assert len(asked) > 100
    missing = [
        each
        for each in asked
        if not re.search(
            rf"export (?:async )?(?:function|class|const) {each[1]}\b",
            known.get(each[2].removeprefix("./"), ""),
        )
    ]
    assert missing == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_what_is_imported_is_used(path: Path) -> None:
    """No module imports a name that it has no use for."""
    source = path.read_text(encoding="utf-8")
    body = re.sub(r"^import [^;]*;", "", source, flags=re.MULTILINE)
    names = [
        name.strip() for found in re.findall(r"import \{([^}]*)\} from", source) for name in found.split(",")
    ]
    assert [name for name in names if not re.search(rf"\b{re.escape(name)}\b", body)] == []
