import hashlib
import shutil
from pathlib import Path

import pytest
from conftest import picture_bytes
from model_parts import save_always

from shared.announcements import Model
from shared.errors import ConfigError
from shared.images import ImageStore, StoreAwayError
from shared.model_files import Library


@pytest.fixture
def model(store: ImageStore, tmp_path: Path) -> Model:
    """A model in the image store."""
    path = tmp_path / "street6.safetensors"
    save_always(path, "fire")
    content = path.read_bytes()
    found = Model(hashlib.sha256(content).hexdigest(), "street6")
    Library(store, tmp_path / "operator").put(content, found)
    store.put_picture(picture_bytes(1), "00" * 32, "jpeg")
    return found


@pytest.fixture
def library(store: ImageStore, tmp_path: Path) -> Library:
    """The library of one worker."""
    return Library(store, tmp_path / "worker")


def in_store(store: ImageStore, model: Model) -> Path:
    """Its file there."""
    return Path(store.url) / store.model_place(model.digest)


def test_a_model_is_fetched_once_and_kept(library: Library, store: ImageStore, model: Model) -> None:
    """Its name and fingerprint are those announced; once kept, the store may be away."""
    assert library.holds(model)
    assert library.checkpoint(model).model_id == model.model_id
    shutil.rmtree(store.url)
    assert library.checkpoint(model).model_id == model.model_id
    assert library.file(model).read_bytes()


def test_a_damaged_file_in_the_store_is_refused(library: Library, store: ImageStore, model: Model) -> None:
    """One bit that is another makes another model: nobody runs it, and announcing it again mends it."""
    path = in_store(store, model)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ConfigError, match="other bytes") as refused:
        library.checkpoint(model)
    assert refused.value.reason == "model_damaged"
    assert not library.place(model).exists()
    library.put(good, model)
    assert library.checkpoint(model).fingerprint == model.fingerprint


def test_a_damaged_copy_is_fetched_again(library: Library, model: Model) -> None:
    """A bad block on a worker's disk costs it a download."""
    library.file(model).write_bytes(b"damaged")
    assert library.checkpoint(model).model_id == model.model_id
    assert len(library.place(model).read_bytes()) > 1000


def test_a_model_that_is_gone_is_told_from_a_store_that_is_away(
    library: Library, store: ImageStore, model: Model
) -> None:
    """One needs a person, the other only time."""
    in_store(store, model).unlink()
    with pytest.raises(ConfigError, match="no file of the model"):
        library.checkpoint(model)
    shutil.rmtree(store.url)
    with pytest.raises(StoreAwayError):
        library.checkpoint(model)


def test_a_disk_that_is_full_keeps_no_model_from_deciding(
    store: ImageStore, model: Model, tmp_path: Path
) -> None:
    """Where it can't be kept, it is used all the same."""
    (tmp_path / "blocked").write_bytes(b"a file where the folder should be")
    library = Library(store, tmp_path / "blocked")
    assert library.checkpoint(model).model_id == model.model_id
    with pytest.raises(ConfigError, match="can't be kept"):
        library.file(model)


def test_a_record_leads_to_its_model(library: Library, model: Model) -> None:
    """What decided can be found by what records say, and nothing else passes for it."""
    assert library.find(f"{model.model_id} openvino-bf16") == model
    assert library.find("street6@0123456789ab torch-cpu") is None
    assert library.find("") is None


def test_other_models_are_forgotten(library: Library, model: Model) -> None:
    """Only what decides and one step back stay on a worker's disk."""
    library.file(model)
    library.forget([model])
    assert library.place(model).is_file()
    library.forget([])
    assert not library.place(model).exists()
