"""The lock: what `make setup` installs is pinned, by hash but for torch's family, as pyproject.toml asks."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
LOCKS = ("requirements.txt", "requirements-extras.txt", "requirements-dev.txt", "broker.txt", "browser.txt")


def locked(name: str) -> list[tuple[Requirement, int]]:
    """The requirements of a file, and how many hashes each has."""
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = []
    for line in lines:
        requirement, *hashes = re.split(r"\s+--hash=sha256:", line)
        assert all(re.fullmatch(r"[0-9a-f]{64}\s*", each) for each in hashes), line[:80]
        found.append((Requirement(requirement.strip()), len(hashes)))
    return found


def pins(name: str) -> dict[str, str]:
    """Name -> version of what a file pins for this machine."""
    here = {key: str(value) for key, value in default_environment().items()}
    return {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each, _ in locked(name)
        if each.marker is None or each.marker.evaluate(here)
    }


def wanted(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["dependencies"] + [
        text for extra in extras for text in project["optional-dependencies"][extra]
    ]
    return [Requirement(text) for text in texts]


def torch_family() -> set[str]:
    """What the Makefile leaves to torch's own index."""
    (line,) = re.findall(r"^TORCH := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(line.replace("\\\n", " ").split())


@pytest.mark.parametrize("name", LOCKS)
def test_everything_is_pinned_with_hashes(name: str) -> None:
    """Each line of a lock is one version and carries the hashes of its files."""
    for requirement, hashes in locked(name):
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hashes >= 1, requirement


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("requirements.txt", ()),
        ("requirements-extras.txt", ("postgresql", "s3", "heic")),
        ("requirements-dev.txt", ("dev",)),
    ],
)
def test_lock_and_project_agree(name: str, extras: tuple[str, ...]) -> None:
    """What the project asks for is in the lock, in a version it allows; torch alone is pinned elsewhere."""
    found = pins(name)
    apart = pins_of_constraints()
    for requirement in wanted(*extras):
        package = canonicalize_name(requirement.name)
        pinned = apart[package] if package in torch_family() else found.get(package)
        assert pinned is not None, f"{package} is not locked: run `make lock`"
        assert requirement.specifier.contains(pinned), f"{package} {pinned}: run `make lock`"


def pins_of_constraints() -> dict[str, str]:
    """Name -> version of deploy/constraints.txt."""
    lines = (DEPLOY / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(package): pinned.strip() for package, pinned in pairs}


def test_locks_constraints_and_each_other_agree() -> None:
    """A package has one version, whichever file pins it."""
    base, dev, constraints = pins("requirements.txt"), pins("requirements-dev.txt"), pins_of_constraints()
    assert base.items() <= pins("requirements-extras.txt").items() <= dev.items()
    assert {name: dev[name] for name in constraints if name in dev} == {
        name: pinned for name, pinned in constraints.items() if name in dev
    }


def test_torchs_family_alone_is_apart() -> None:
    """No lock names what depends on the machine's index, and nothing else is left out."""
    assert not torch_family() & pins("requirements-dev.txt").keys()
    others = {name for name in torch_family() if not name.startswith(("nvidia-", "cuda-"))}
    assert others == {"torch", "torchvision", "triton"}


def test_what_runs_here_is_what_is_locked() -> None:
    """The packages that the tests run with are those of the lock."""
    differing = {}
    for name, pinned in pins("requirements.txt").items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "none"
        if installed != pinned:
            differing[name] = (installed, pinned)
    assert differing == {}


def test_setup_installs_nothing_unhashed_but_torch() -> None:
    """Each installation that `make setup` does requires hashes, but for torch and our own folder."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    assert "LOCKED := --no-deps --require-hashes --requirement" in makefile
    setup = re.search(r"^\$\(STAMP\):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    tests = re.search(r"^\$\(TESTS_STAMP\):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert setup is not None and tests is not None
    installs = [line.strip() for line in (setup[1] + tests[1]).splitlines() if "$(PIP)" in line]
    assert len(installs) == 6
    unhashed = [line for line in installs if "$(LOCKED)" not in line]
    assert unhashed == [
        "$(PIP) --constraint deploy/constraints.txt torch torchvision",
        "$(PIP) --no-deps --no-build-isolation --editable .",
    ]
    assert "setuptools" in pins(
        "requirements.txt"
    )  # what builds our own folder, as nothing is fetched for it
