"""Pictures: from the store to a console, by way of a process that may die of them."""

import hashlib
import io
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import picture_bytes
from hostile import camera_exif, file_of, png_of_size, scene
from PIL import Image

from console.pictures import Pictures
from console.thumbnails import thumbnail
from shared.confinement import DecoderKilledError
from shared.errors import PermanentError, TransientError
from shared.images import ImageMissingError, ImageStore

LIMIT = 10_000_000
ROOT = Path(__file__).parents[2]


def put(store: ImageStore, image_bytes: bytes) -> str:
    """Keep a picture as the ingester does."""
    return store.put_picture(image_bytes, hashlib.sha256(image_bytes).hexdigest(), "jpeg")


@pytest.fixture
def pictures(store: ImageStore) -> Iterator[Pictures]:
    """The pictures of an empty local store."""
    made = Pictures(store, LIMIT)
    yield made
    made.close()


@pytest.fixture
def killing_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding processes, which read this before anything else, die or hang at the sight of magic words."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if 'console.thumbnails' in sys.orig_argv:\n"
        "    from shared import decoding\n"
        "    decode = decoding._open\n"
        "    def look(data):\n"
        "        if data[:4] == b'KILL': os.kill(os.getpid(), signal.SIGSEGV)\n"
        "        if data[:4] == b'HANG': signal.pause()\n"
        "        return decode(data)\n"
        "    decoding._open = look\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")


@pytest.mark.parametrize("width_px", [320, 1280])
def test_a_picture_of_the_store_comes_small_and_plain(
    store: ImageStore, pictures: Pictures, width_px: int
) -> None:
    """Turned upright and as wide as asked; what the process gives is what the function makes."""
    original = file_of(scene(1500, 1000), exif=camera_exif(6))
    found = pictures.jpeg(put(store, original), width_px)
    assert found == thumbnail(original, width_px, max_pixels=LIMIT)
    image = Image.open(io.BytesIO(found))
    assert image.width == min(width_px, 1000)
    assert not image.getexif()


@pytest.mark.parametrize("url", ["memory://pictures-of-consoles", "file://{}/by-url"])
def test_a_store_behind_a_url_serves_too(url: str, tmp_path: Path) -> None:
    """Any fsspec store that the ingester can write to."""
    store = ImageStore(url.format(tmp_path))
    pictures = Pictures(store, LIMIT)
    try:
        assert Image.open(io.BytesIO(pictures.jpeg(put(store, picture_bytes(1)), 320))).size == (96, 72)
    finally:
        pictures.close()


def test_a_picture_is_made_once(store: ImageStore, pictures: Pictures) -> None:
    """The second time it comes from memory: nothing is decoded, nor fetched."""
    place = put(store, picture_bytes(1))
    first = pictures.jpeg(place, 320)
    pictures.close()
    store.remove(place)
    assert pictures.jpeg(place, 320) is first
    with pytest.raises(ImageMissingError):
        pictures.jpeg(place, 1280)


def test_memory_for_pictures_is_bounded(store: ImageStore) -> None:
    """Those looked at longest ago go first."""
    made = {put(store, picture_bytes(seed)): seed for seed in range(4)}
    places = list(made)
    size_bytes = len(thumbnail(picture_bytes(0), 320, max_pixels=LIMIT))
    pictures = Pictures(store, LIMIT, cache_bytes=3 * size_bytes + size_bytes // 2)
    try:
        first = [pictures.jpeg(place, 320) for place in places[:3]]
        assert pictures.jpeg(places[0], 320) is first[0]
        pictures.jpeg(places[3], 320)
        assert pictures.jpeg(places[0], 320) is first[0]
        assert pictures.jpeg(places[1], 320) is not first[1]
    finally:
        pictures.close()


def test_many_threads_get_their_own_pictures(store: ImageStore, pictures: Pictures) -> None:
    """A console of fifty rows asks for all at once."""
    places = {put(store, picture_bytes(seed)): seed for seed in range(12)}
    asked = list(places) * 4
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda place: pictures.jpeg(place, 320), asked))
    for place, jpeg in zip(asked, found, strict=True):
        assert jpeg == thumbnail(picture_bytes(places[place]), 320, max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("image_bytes", "reason"),
    [
        (b"<script>", "undecodable"),
        (file_of(scene())[:3000], "truncated"),
        (png_of_size(2**31 - 1, 2**31 - 1), "too_many_pixels"),
        (file_of(Image.new("1", (20_000, 20_000)), "PNG"), "too_many_pixels"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_reason(
    store: ImageStore, pictures: Pictures, image_bytes: bytes, reason: str
) -> None:
    """The words of the decoder come through its process, and the next picture is shown."""
    with pytest.raises(PermanentError) as caught:
        pictures.jpeg(put(store, image_bytes), 320)
    assert caught.value.reason == reason
    assert pictures.jpeg(put(store, picture_bytes(1)), 320)


def test_a_file_that_is_too_large_is_not_decoded(store: ImageStore) -> None:
    """The limit of the ingester holds for what somebody else put into the store."""
    pictures = Pictures(store, LIMIT, max_bytes=500)
    with pytest.raises(PermanentError) as caught:
        pictures.jpeg(put(store, picture_bytes(1)), 320)
    assert caught.value.reason == "too_large_bytes"


@pytest.mark.usefixtures("killing_decoder")
@pytest.mark.parametrize("word", [b"KILL", b"HANG"])
def test_a_picture_that_kills_its_decoder_hurts_no_other(
    store: ImageStore, word: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused; the next picture is shown; it is not tried again for ten minutes, and then is."""
    monkeypatch.setattr("console.pictures._ANSWER_S", 2.0 if word == b"HANG" else 60.0)
    now_s = 1000.0
    pictures = Pictures(store, LIMIT, clock=lambda: now_s)
    killer = put(store, word + picture_bytes(1))
    try:
        for _ in range(2):
            with pytest.raises(DecoderKilledError) as caught:
                pictures.jpeg(killer, 320)
            assert caught.value.reason == "kills_decoder"
        pictures._decoder._answer_s = 60.0  # what is no killer may be slow on a busy machine
        good = pictures.jpeg(put(store, picture_bytes(2)), 320)
        assert good == thumbnail(picture_bytes(2), 320, max_pixels=LIMIT)
        store.remove(killer)
        with pytest.raises(DecoderKilledError):
            pictures.jpeg(killer, 1280)  # not even fetched
        now_s += 601
        with pytest.raises(ImageMissingError):
            pictures.jpeg(killer, 1280)
    finally:
        pictures.close()


def test_a_store_that_is_away_may_come_back(store: ImageStore, pictures: Pictures, tmp_path: Path) -> None:
    """Away is transient, a picture that is gone is not, and when the store is back all is well."""
    place = put(store, picture_bytes(1))
    put(store, picture_bytes(2))
    folder, elsewhere = Path(store.url), tmp_path / "elsewhere"
    folder.rename(elsewhere)
    with pytest.raises(TransientError) as caught:
        pictures.jpeg(place, 320)
    assert caught.value.reason == "image_store_away"
    elsewhere.rename(folder)
    assert pictures.jpeg(place, 320)
    store.remove(place)
    with pytest.raises(ImageMissingError):
        pictures.jpeg(place, 1280)


@pytest.mark.parametrize(
    "place", ["", "pictures/../secret.jpeg", "/etc/passwd", "incidents/aa/x.json", "pictures/aa/x.jpeg"]
)
def test_only_pictures_of_the_store_are_shown(pictures: Pictures, store: ImageStore, place: str) -> None:
    """A record that somebody forged can't lead out of the store, nor to anything else in it."""
    shutil.copy(ROOT / "pyproject.toml", Path(store.url) / "secret.jpeg")
    with pytest.raises(PermanentError) as caught:
        pictures.jpeg(place, 320)
    assert caught.value.reason == "no_picture"


def test_there_are_two_widths(pictures: Pictures, store: ImageStore) -> None:
    """Nobody fills the memory with 1279 of them."""
    with pytest.raises(ValueError, match="not one of"):
        pictures.jpeg(put(store, picture_bytes(1)), 321)
