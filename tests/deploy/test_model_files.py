from pathlib import Path

import pytest
from model_parts import save_always

import deploy.models
from deploy.cli import main
from deploy.models import put
from shared.announcements import Announcement, Model, announce
from shared.broker import Broker
from shared.errors import ConfigError
from shared.images import ImageStore
from shared.settings import Settings


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint file's bytes."""
    path = tmp_path_factory.mktemp("models") / "good.safetensors"
    save_always(path, "fire")
    return path.read_bytes()


def refusal(settings: Settings, path: Path) -> str:
    """Why a file is refused; nothing of it is in the image store then."""
    with pytest.raises(ConfigError) as refused:
        put(path, settings)
    assert list(ImageStore(settings.image_store_url).models()) == []
    return str(refused.value)


def test_a_good_file_lies_beside_the_pictures(settings: Settings, good: bytes, tmp_path: Path) -> None:
    """Under the digest of its bytes, where every worker gets it; put twice, it is there once."""
    path = tmp_path / "street-7.b.safetensors"
    path.write_bytes(good)
    model = put(path, settings)
    assert put(path, settings) == model
    assert model.name == "street-7.b"
    assert list(ImageStore(settings.image_store_url).models()) == [model.digest]


def test_a_file_that_no_worker_could_use_is_refused(settings: Settings, good: bytes, tmp_path: Path) -> None:
    """Cut short, of another version of the format, without its thresholds, or not there at all."""
    path = tmp_path / "bad.safetensors"
    assert "can't be read" in refusal(settings, path)
    for damaged, complaint in (
        (good[: len(good) // 2], "is refused"),
        (good.replace(b'\\"format_version\\": 1', b'\\"format_version\\": 9'), "format version 9"),
        (good.replace(b'\\"format_version\\": 1', b'\\"format_version\\": 0'), "format version 0"),
        (good.replace(b'\\"thresholds\\"', b'\\"threshold_\\"'), "lacks 'thresholds'"),
    ):
        assert damaged != good
        path.write_bytes(damaged)
        assert complaint in refusal(settings, path)


def test_a_file_that_is_far_too_large_is_refused_unread(settings: Settings, tmp_path: Path) -> None:
    """30 GB, most of them nothing: no memory is asked for, and people are told."""
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.truncate(30_000_000_000)
    assert "is of 30.0 GB, and a checkpoint of at most 1.1 GB" in refusal(settings, path)


@pytest.mark.usefixtures("broker")
def test_who_is_overtaken_is_told(
    settings: Settings,
    good: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of two who announce at once, the one whose model does not stand hears whose does, and gets 1."""

    def overtaken(client: Broker, model: Model, by: str) -> Announcement:
        mine = announce(client, model, by)
        announce(client, Model("b" * 64, "m3"), "ben")
        return mine

    path = tmp_path / "mine.safetensors"
    path.write_bytes(good)
    monkeypatch.setenv("ALMENARA_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("ALMENARA_STATE_DIR", str(settings.state_dir))
    assert main(["model", "use", str(path), "--by", "ana"]) == 0
    monkeypatch.setattr(deploy.models, "announce", overtaken)
    assert main(["model", "use", str(path), "--by", "ana"]) == 1
    assert "ben announced m3@bbbbbbbbbbbb meanwhile" in capsys.readouterr().out


def test_a_class_that_goes_nowhere_is_refused(settings: Settings, tmp_path: Path) -> None:
    """Better known when it is announced than by every worker."""
    save_always(tmp_path / "lost.safetensors", "fire", classes=("fire", "landslide", "normal"))
    assert "landslide" in refusal(settings, tmp_path / "lost.safetensors")


@pytest.mark.parametrize("name", ["two words", "\u202egnp", "x" * 65, "a:b"])
def test_a_name_that_is_no_harmless_one_is_refused(
    settings: Settings, good: bytes, tmp_path: Path, name: str
) -> None:
    """It becomes the name of a file on every worker, and stands in every record."""
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(good)
    assert "ename the file" in refusal(settings, path)
