"""Names of users: which are taken, and who would deceive by one."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from users_parts import OTHER_WORDS, ROUTING, WORDS, add

from console.users import Users, check_user
from shared.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a users file that is not there yet, nor is its folder."""
    return tmp_path / "state" / "users.json"


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " Ana",
        "Ana ",
        "A  B",
        "A\tB",
        "A\nB",
        "A\x1b[31mB",
        "A\u202eB",
        "A\u200bB",
        "A\u00a0B",
        "A\ud800",
        "x" * 65,
        "desk",
        "Desk",
        "ｄｅｓｋ",
        "model",
    ],
)
def test_a_name_that_could_deceive_is_refused(path: Path, name: str) -> None:
    """Control, bidirectional and invisible characters, too long ones, and those of parts of Almenara."""
    with pytest.raises(ConfigError) as caught:
        add(path, name)
    assert caught.value.reason == "bad_name"
    assert str(caught.value).isprintable()
    assert not path.exists()


@pytest.mark.parametrize("name", ["a", "x" * 64, "María José Ñ.", "山田 太郎", "O'Brien; DROP", "ana@desk"])
def test_a_name_of_any_tongue_is_taken(path: Path, name: str) -> None:
    """At most 64 characters, typed in either way of writing accents, in capitals or not."""
    assert add(path, unicodedata.normalize("NFD", name)).name == unicodedata.normalize("NFC", name)
    users = Users.load(path)
    for typed in (name, unicodedata.normalize("NFD", name), name.upper()):
        found = users.check(typed, WORDS)
        assert found is not None and found.name == name


@pytest.mark.parametrize("name", ["Ana Ruiz", "ana ruiz", "ANA RUIZ", "Ａna Ruiz"])
def test_two_users_can_not_have_one_name(path: Path, name: str) -> None:
    """Capitals and wide letters make no other name: nobody poses as somebody."""
    add(path)

    def checked() -> None:
        check_user(path, name, roles=["viewer"], departments=["all"], routing=ROUTING)

    uses: list[Callable[[], object]] = [lambda: add(path, name, OTHER_WORDS), checked]
    for use in uses:
        with pytest.raises(ConfigError, match="already") as caught:
            use()
        assert caught.value.reason == "name_taken"
    assert Users.load(path).check("Ana Ruiz", WORDS)
