"""Isolation: a picture that brings its decoder down takes only a process of its own with it."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from ingest.pictures import PictureError, check_isolated, check_picture, main
from shared.errors import TransientError

KILL, HANG, MUTE, CHAT = b"KILL", b"HANG", b"MUTE", b"CHAT"


def small_jpeg() -> bytes:
    """A sound picture of 40 x 30 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def killing_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Child interpreters read this before anything else and die, hang or fall silent on magic words."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, pathlib, signal, sys\n"
        "if 'ingest.pictures' in sys.orig_argv:\n"
        "    word = pathlib.Path(sys.orig_argv[-3]).read_bytes()[:4]\n"
        f"    if word == {KILL!r}: os.kill(os.getpid(), signal.SIGSEGV)\n"
        f"    if word == {HANG!r}: signal.pause()\n"
        f"    if word == {MUTE!r}: os._exit(3)\n"
        f"    if word == {CHAT!r}: print('[1, 2]', flush=True); os._exit(0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return tmp_path


@pytest.mark.parametrize(("word", "timeout_s"), [(KILL, 30.0), (MUTE, 30.0), (CHAT, 30.0), (HANG, 0.2)])
def test_isolated_check_survives_its_process(killing_decoder: Path, word: bytes, timeout_s: float) -> None:
    """A picture that kills, hangs or silences the process that decodes it is refused as such."""
    path = killing_decoder / "33.8568, 151.2153.jpeg"
    path.write_bytes(word)
    with pytest.raises(PictureError) as caught:
        check_isolated(path, max_bytes=10**6, max_pixels=10**6, timeout_s=timeout_s)
    assert caught.value.reason == "kills_decoder"


def test_isolated_check_agrees_with_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own the outcome is the same, for a relative path in a folder with a trap too."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (33.0, 30.0, 0.0), 3: "W", 4: (70.0, 15.0, 0.0)})
    path = tmp_path / "a\udcff b.jpeg"
    Image.new("RGB", (64, 48)).save(path, "JPEG", exif=exif)
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the inbox')")
    monkeypatch.chdir(tmp_path)
    picture = check_isolated(Path(path.name), max_bytes=10**6, max_pixels=10**6)
    assert picture == check_picture(path.read_bytes(), max_bytes=10**6, max_pixels=10**6)
    assert picture.gps is not None


@pytest.mark.parametrize(("max_bytes", "max_pixels"), [(100, 10**6), (10**6, 100)])
def test_isolated_check_refuses_as_the_check_does(tmp_path: Path, max_bytes: int, max_pixels: int) -> None:
    """A refusal comes through with its reason, detail and remedy."""
    path = tmp_path / "x.jpeg"
    path.write_bytes(small_jpeg())
    with pytest.raises(PictureError) as caught:
        check_isolated(path, max_bytes=max_bytes, max_pixels=max_pixels)
    with pytest.raises(PictureError) as expected:
        check_picture(path.read_bytes(), max_bytes=max_bytes, max_pixels=max_pixels)
    assert (caught.value.reason, str(caught.value)) == (expected.value.reason, str(expected.value))


def test_isolated_check_of_a_vanished_file_may_be_tried_again(tmp_path: Path) -> None:
    """A file that can't be read is no bad picture."""
    with pytest.raises(TransientError):
        check_isolated(tmp_path / "gone.jpeg", max_bytes=10**6, max_pixels=10**6)


def test_isolated_process_is_bounded(tmp_path: Path) -> None:
    """The process that checks limits its own memory to 4 GiB and leaves no core dump."""
    path = tmp_path / "x.jpeg"
    path.write_bytes(small_jpeg())
    program = (
        "import resource, sys; from ingest.pictures import main; main(sys.argv[1:]);"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    command = [sys.executable, "-c", program, str(path), "1000000", "1000000"]
    line, limits = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    assert json.loads(line)["picture"]["format"] == "jpeg"
    memory_bytes, core_bytes = map(int, limits.split())
    assert 0 < memory_bytes <= 4 * 2**30
    assert core_bytes == 0


def test_main_prints_one_line_and_succeeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says the outcome in one JSON line and exits 0 for a bad picture too."""
    monkeypatch.setattr("ingest.pictures._limit_process", lambda: None)
    path = tmp_path / "x.jpeg"
    path.write_bytes(b"%PDF-1.7\n")
    assert main([str(path), "1000", "1000"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["error"]["reason"] == "not_an_image"
