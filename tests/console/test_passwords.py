"""Passwords: what is refused, what is recognised, and what chance gives."""

import unicodedata

import pytest
from argon2 import PasswordHasher

from console.passwords import PasswordError, hash_password, is_hash, is_outdated, matches, random_password

WEAK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_a_password_is_recognised_and_others_are_not() -> None:
    """Its hash tells nothing, is another one each time, and knows it."""
    first, second = hash_password("correct horse battery"), hash_password("correct horse battery")
    assert first != second
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert "horse" not in first
    assert matches(first, "correct horse battery") and matches(second, "correct horse battery")
    for other in ("correct horse batter", "Correct horse battery", "correct horse battery ", "", "x" * 5000):
        assert not matches(first, other)


def test_an_accent_may_be_typed_either_way() -> None:
    """One keyboard sends é, another e and an accent."""
    composed, apart = "contraseña sólida", unicodedata.normalize("NFD", "contraseña sólida")
    assert composed != apart
    assert matches(hash_password(composed), apart)
    assert matches(hash_password(apart), composed)


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "ninechars",
        unicodedata.normalize("NFD", "áéíóúñáéí"),
        "x" * 1025,
        "é" * 513,
        "with a\nline end",
        "with a \x00 zero",
        "half \ud800 a pair",
    ],
)
def test_a_bad_new_password_is_refused(password: str) -> None:
    """Under ten characters, over 1024 bytes, or what nobody can type; and not shown."""
    with pytest.raises(PasswordError) as caught:
        hash_password(password)
    assert caught.value.reason == "bad_password"
    assert caught.value.remedy
    assert len(password) < 6 or password not in str(caught.value)


@pytest.mark.parametrize(
    "password", ["tencharact", "x" * 1024, "é" * 512, "diez años!", "🔥🔥🔥🔥🔥🔥🔥🔥🔥🔥"]
)
def test_a_password_at_the_limits_is_taken(password: str) -> None:
    """Ten characters, and 1024 bytes."""
    assert matches(hash_password(password), password)


def test_hashes_of_older_parameters_are_known_as_such() -> None:
    """Still recognised, and due to be renewed."""
    old = WEAK.hash("correct horse battery")
    assert matches(old, "correct horse battery")
    assert is_outdated(old)
    assert not is_outdated(hash_password("correct horse battery"))


@pytest.mark.parametrize(
    "text", ["", "plain", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv", "$argon2i$v=19$m=8,t=1,p=1$YQ$YQ"]
)
def test_what_is_no_hash_matches_nothing(text: str) -> None:
    """A file that somebody edited lets nobody in."""
    assert not is_hash(text)
    assert not matches(text, "correct horse battery")
    assert not matches(text, "")


def test_a_password_by_chance_can_be_read_aloud_and_not_guessed() -> None:
    """Four groups of four of 32 signs that don't look alike, 80 bits, and good enough to be taken."""
    found = {random_password() for _ in range(200)}
    assert len(found) == 200
    signs = set("".join(found)) - {"-"}
    assert len(signs) == 32
    assert not signs & set("01lo")
    assert all([len(group) for group in each.split("-")] == [4, 4, 4, 4] for each in found)
    hash_password(found.pop())
