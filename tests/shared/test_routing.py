from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.routing import Routing
from shared.settings import Settings

SOUND = """
[departments]
firefighters = "Firefighters"
ambulance = "Ambulance"

[situations.fire]
name = "Fire"
to = ["firefighters", "ambulance"]
"""


@pytest.fixture
def default() -> Routing:
    return Routing.load(Settings().routing)


def refusal(path: Path, text: str) -> str:
    """What loading says about a wrong routing file."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        Routing.load(path)
    return str(caught.value)


def test_the_default_file_sends_as_agreed(default: Routing) -> None:
    """The six situations read as DESIGN section 2 shows them, to the letter."""
    assert {word: default.units(word) for word in default.situations} == {
        "protest": "Protest => Police Force and Transit Police",
        "flood_risk": "Flood Risk => Drainage Department and Transit Police",
        "fire": "Fire => Firefighters and Transit Police",
        "altercation": "Altercation => Police Department",
        "accident": "Accident => Towing Unit, Ambulance and Transit Police",
        "robbery": "Robbery => Police Department",
    }


def test_the_default_file_knows_seven_departments(default: Routing) -> None:
    """Every department of DESIGN section 2 has its stream, and no other has."""
    assert set(default.departments) == {
        "police-force",
        "transit-police",
        "drainage-department",
        "firefighters",
        "police-department",
        "towing-unit",
        "ambulance",
    }


def test_streams_keep_the_order_of_the_file(default: Routing) -> None:
    """Who is named first in the file is told first."""
    assert default.streams("accident") == ("towing-unit", "ambulance", "transit-police")


def test_another_city_needs_no_code(tmp_path: Path) -> None:
    """Words of a file of one's own are taken as they are."""
    path = tmp_path / "routing.toml"
    path.write_text(SOUND.replace("fire", "landslide").replace("Fire", "Éboulement"), encoding="utf-8")
    assert Routing.load(path).units("landslide") == "Éboulement => Éboulementfighters and Ambulance"


def test_every_department_of_the_default_file_has_somebody_behind_it(default: Routing) -> None:
    """Whoever does not answer, and a review without a guess, is stood in for by another department."""
    assert set(default.fallback) == {*default.departments, "review"}
    assert all(to in default.departments and to != word for word, to in default.fallback.items())


def test_a_fallback_is_optional(tmp_path: Path) -> None:
    """A file without one calls nobody else; one that names review alone is as good."""
    path = tmp_path / "routing.toml"
    path.write_text(SOUND, encoding="utf-8")
    assert Routing.load(path).fallback == {}
    path.write_text(SOUND + '[fallback]\nreview = "ambulance"\n', encoding="utf-8")
    assert Routing.load(path).fallback == {"review": "ambulance"}


def test_other_departments_than_the_file_says_can_be_named(default: Routing) -> None:
    """A person may send whom they like; words that left the file are shown as words."""
    assert default.units("fire", ["ambulance"]) == "Fire => Ambulance"
    assert default.units("volcano_eruption", ["sea-rescue", "ambulance"]) == (
        "Volcano Eruption => Sea Rescue and Ambulance"
    )


FAULTS = {
    "departments that are missing": (SOUND.partition("[situations")[0].replace("departments", "d"), "[dep"),
    "situations that are missing": (SOUND.partition("[situations")[0], "no [situations"),
    "departments that are no table": ("departments = 3\n" + SOUND.partition("\n\n")[2], "[departments]"),
    "a department in capitals": (SOUND.replace("ambulance", "Ambulance"), "'Ambulance'"),
    "a department called review": (SOUND.replace("ambulance", "review"), "'review'"),
    "a department called all": (SOUND.replace("ambulance", "all"), "'all'"),
    "a department without a name": (SOUND.replace('"Ambulance"', '" "'), "'ambulance' has no name"),
    "a situation with a space": (SOUND.replace("situations.fire", "situations.'a fire'"), "'a fire'"),
    "a situation called normal": (SOUND.replace("situations.fire", "situations.normal"), "'normal'"),
    "a situation without a name": (SOUND.replace('name = "Fire"', ""), "'fire' has no name"),
    "a situation that goes nowhere": (
        SOUND.replace('"firefighters", "ambulance"', ""),
        "'fire' goes to nobody",
    ),
    "a route that is no list": (SOUND.replace('["firefighters", "ambulance"]', "3"), "'fire' goes to nobody"),
    "a department that is unknown": (SOUND.replace(', "ambulance"', ', "navy"'), "'navy'"),
    "a department that is no word": (SOUND.replace(', "ambulance"', ', ["ambulance"]'), "['ambulance']"),
    "a fallback that is no table": ("fallback = 3\n" + SOUND, "[fallback]"),
    "a fallback of an unknown department": (SOUND + '[fallback]\nnavy = "ambulance"\n', "'navy'"),
    "a fallback to an unknown department": (SOUND + '[fallback]\nambulance = "navy"\n', "'navy'"),
    "a fallback to review": (SOUND + '[fallback]\nambulance = "review"\n', "'review'"),
    "a fallback to itself": (SOUND + '[fallback]\nambulance = "ambulance"\n', "itself"),
    "a fallback to several": (SOUND + '[fallback]\nambulance = ["firefighters"]\n', "'ambulance'"),
    "a department named twice": (SOUND.replace(', "ambulance"', ', "firefighters"'), "twice"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(fault: str, tmp_path: Path) -> None:
    """Whatever is wrong in a routing file is said with the word it concerns."""
    text, named = FAULTS[fault]
    said = refusal(tmp_path / "routing.toml", text)
    assert named in said
    assert "shared/routing.toml" in said  # the remedy


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    """One start tells all there is to correct."""
    said = refusal(
        tmp_path / "routing.toml",
        SOUND.replace('"Ambulance"', '""').replace('name = "Fire"', "")
        + '[situations.flood]\nname = "Flood"\n',
    )
    assert "'ambulance' has no name" in said
    assert "'fire' has no name" in said
    assert "'flood' goes to nobody" in said


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    """The message says where reading stopped."""
    assert "line 1" in refusal(tmp_path / "routing.toml", "departments: []")


def test_a_file_of_other_bytes_is_refused(tmp_path: Path) -> None:
    """A file that is no text is a fault to correct, not a crash."""
    path = tmp_path / "routing.toml"
    path.write_bytes(b"\xff\xfe[departments]")
    with pytest.raises(ConfigError, match=r"routing\.toml"):
        Routing.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The remedy names the setting."""
    with pytest.raises(ConfigError, match="ALMENARA_ROUTING"):
        Routing.load(tmp_path / "none.toml")


def test_classes_without_a_route_are_refused(default: Routing) -> None:
    """A worker does not start with a model that knows what nobody is sent to; each such class is named."""
    with pytest.raises(ConfigError, match="landslide, meteor") as caught:
        default.check_classes(["fire", "landslide", "normal", "meteor"])
    assert caught.value.reason == "class_without_route"


def test_normal_needs_no_route(default: Routing) -> None:
    """The class of a quiet street goes to nobody, and that is no fault."""
    default.check_classes(["normal", *default.situations])
