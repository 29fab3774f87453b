"""What a worker makes of announced models: real checkpoints on a real engine."""

import contextlib
import fcntl
import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import wait_until
from model_parts import save_always, save_endless
from numpy.typing import NDArray
from worker_parts import routing

from shared.announcements import Model, announce, history
from shared.broker import Broker
from shared.checkpoint import Checkpoint
from shared.images import ImageStore
from shared.keys import MODEL
from shared.model_files import Library
from shared.settings import Settings
from worker.classifiers import DEATHS_ALLOWED, Classifiers, announcement_at_start
from worker.inference import check_scores
from worker.swapping import Fresh, Swapper

DIE_WHILE_TRYING = """
import os, sys
from pathlib import Path
from shared.images import ImageStore
from shared.announcements import Announcement, Model
from shared.routing import Routing
from shared.settings import Settings
from worker.classifiers import Classifiers
settings = Settings(state_dir=Path(sys.argv[1]))
models = Classifiers(settings, Routing.load(settings.routing), ImageStore(sys.argv[2]))
with models.trying(Announcement(model=Model(sys.argv[3], "always-fire"), generation=int(sys.argv[4]))):
    os._exit(9)
"""


class Rig:
    """A worker's swapper, without the worker."""

    def __init__(self, settings: Settings, broker: Broker, store: ImageStore, folder: Path) -> None:
        path = folder / "configured.safetensors"
        configured = save_always(path, "normal")
        self.settings = replace(settings, checkpoint=path, engine="openvino-f32")
        self.broker, self.store, self._folder = broker, store, folder
        self.configured = configured.model_id
        self._swappers: list[Swapper] = []

    def put(self, path: Path) -> Model:
        """Put a checkpoint file where workers find it."""
        content = path.read_bytes()
        model = Model(hashlib.sha256(content).hexdigest(), path.stem)
        Library(self.store, self._folder / "operator").put(content, model)
        return model

    def always(self, situation: str, **more: Any) -> Model:
        """A model in the store that is sure of one situation."""
        path = self._folder / f"always-{situation}.safetensors"
        save_always(path, situation, **more)
        return self.put(path)

    def models(self) -> Classifiers:
        """What a worker that starts now makes models with."""
        return Classifiers(
            self.settings, routing(), self.store, announcement=announcement_at_start(self.broker)
        )

    def start(self) -> Swapper:
        """A worker that starts: what it decides with first, and its swapper at work."""
        models = self.models()
        made = Swapper(self.broker, "w1", models, lambda warm_up: warm_up())
        self.classifier, _ = made.warm_first(models.first())
        made.start()
        self._swappers.append(made)
        return made

    def taken(self, swapper: Swapper) -> Fresh:
        """Wait for another model."""
        found: list[Fresh] = []

        def take() -> bool:
            if fresh := swapper.take("before"):
                found.append(fresh)
            return bool(found)

        wait_until(take, within_s=60, what="another model is ready")
        return found[0]

    def refused(self, swapper: Swapper) -> str:
        """Wait for a refusal; why."""
        wait_until(lambda: swapper.refusal, within_s=60, what="the model is refused")
        assert swapper.take("before") is None
        return swapper.refusal

    def die_while_trying(self, model: Model, generation: int) -> None:
        """As many workers as may die of a model do."""
        arguments = (str(self.settings.state_dir), self.store.url, model.digest, str(generation))
        for _ in range(DEATHS_ALLOWED):
            command = [sys.executable, "-c", DIE_WHILE_TRYING, *arguments]
            assert subprocess.run(command, check=False).returncode == 9

    def end(self) -> None:
        """Stop every swapper."""
        for each in self._swappers:
            each.stop()


class LastLayer:
    """An engine that costs nothing: the last layer's weights alone."""

    name = "last-layer"

    def __init__(self, checkpoint: Checkpoint) -> None:
        # As float16: weights that make a whole network's scores endless make these so.
        with np.errstate(over="ignore"):
            self._weights = checkpoint.weights["fc.weight"].sum(axis=1, dtype=np.float16)

    def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``worker.engines.Engine.scores``."""
        found: NDArray[np.float32] = np.tile(self._weights.astype(np.float32), (len(batch), 1))
        check_scores(found, self.name)
        return found

    def warm_up(self) -> float:
        """See ``worker.engines.Engine.warm_up``."""
        self.scores(np.zeros((1, 32, 32, 3), np.uint8))
        return 0.01


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not the engine that is tested."""
    monkeypatch.setattr("worker.classifiers.make_engine", lambda _, model, *__, **___: LastLayer(model))


@pytest.fixture
def rig(
    settings: Settings,
    broker: Broker,
    store: ImageStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Rig]:
    """One worker's swapper, which looks often."""
    monkeypatch.setattr("worker.swapping.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("worker.swapping.STOP_S", 60.0)  # a swapper left over would write into the next test
    made = Rig(settings, broker, store, tmp_path)
    yield made
    made.end()


def test_an_announced_model_is_made_ready(rig: Rig, broker: Broker) -> None:
    """It comes verified and warm, is handed over once, and the history has it."""
    swapper = rig.start()
    assert rig.classifier.checkpoint.model_id == rig.configured
    model = rig.always("fire")
    announcement = announce(broker, model, "ana")
    assert swapper.about() == {"model_generation": "0", "model_refused": ""}
    fresh = rig.taken(swapper)
    assert fresh.classifier.checkpoint.model_id == model.model_id
    assert fresh.seconds_an_image > 0
    assert fresh.classifier.engine.scores(np.zeros((1, 32, 32, 3), np.uint8)).argmax() == 0
    assert swapper.take("before") is None
    assert swapper.about()["model_generation"] == str(announcement.generation)
    wait_until(lambda: history(broker, 1)[0]["what"] == "swapped", within_s=60, what="the history has it")
    assert history(broker, 1)[0]["by"] == "w1"


def test_a_class_without_a_route_is_refused(rig: Rig, broker: Broker) -> None:
    """A worker goes by its own routing file, whatever the operator's says; what decides goes on."""
    swapper = rig.start()
    announce(broker, rig.always("fire", classes=("fire", "landslide", "normal")), "ana")
    assert "landslide" in rig.refused(swapper)
    wait_until(lambda: history(broker, 1)[0]["what"] == "refused", within_s=60, what="the history has it")
    assert history(broker, 1)[0]["reason"] == "class_without_route"


def test_a_damaged_model_is_refused_until_it_is_announced_anew(rig: Rig, broker: Broker) -> None:
    """A worker does not try the same again and again; told again, it does."""
    swapper = rig.start()
    model = rig.always("fire")
    path = Path(rig.store.url) / rig.store.model_place(model.digest)
    good = path.read_bytes()
    path.write_bytes(good[::-1])
    announce(broker, model, "ana")
    assert "other bytes" in rig.refused(swapper)
    path.write_bytes(good)
    announce(broker, model, "ana")
    assert rig.taken(swapper).classifier.checkpoint.model_id == model.model_id
    assert swapper.refusal == ""


def test_a_model_whose_scores_are_not_finite_is_refused(rig: Rig, broker: Broker, tmp_path: Path) -> None:
    """Weights may be finite and add up to nothing: the warm-up finds it."""
    swapper = rig.start()
    path = tmp_path / "endless.safetensors"
    save_endless(path)
    announce(broker, rig.put(path), "ana")
    assert "not finite" in rig.refused(swapper)


def test_a_store_that_is_away_is_waited_for(
    rig: Rig, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That passes: the worker says so, and takes the model as soon as it can be had."""
    monkeypatch.setattr("worker.swapping.AGAIN_S", 0.1)
    swapper = rig.start()
    model = rig.always("fire")
    away = Path(rig.store.url).with_name("away")
    Path(rig.store.url).rename(away)
    announce(broker, model, "ana")
    wait_until(lambda: swapper.refusal, within_s=60, what="it says that the store is away")
    away.rename(rig.store.url)
    assert rig.taken(swapper).classifier.checkpoint.model_id == model.model_id


def test_a_worker_that_starts_uses_the_announced_model(rig: Rig, broker: Broker) -> None:
    """Who was not there when it was announced decides with it too."""
    model = rig.always("fire")
    announce(broker, model, "ana")
    swapper = rig.start()
    assert rig.classifier.checkpoint.model_id == model.model_id
    assert swapper.about() == {"model_generation": "1", "model_refused": ""}


@pytest.mark.usefixtures("cheap")
def test_a_worker_that_can_not_have_the_announced_model_starts_with_its_own(
    rig: Rig, broker: Broker, tmp_path: Path
) -> None:
    """Some model is better than no worker: at the file, or only at its first scores, it says so loudly."""
    model = rig.always("fire")
    (Path(rig.store.url) / rig.store.model_place(model.digest)).unlink()
    announce(broker, model, "ana")
    assert "no file of the model" in rig.start().refusal
    assert rig.classifier.checkpoint.model_id == rig.configured
    save_endless(tmp_path / "endless.safetensors")
    announce(broker, rig.put(tmp_path / "endless.safetensors"), "ana")
    assert "not finite" in rig.start().refusal
    assert rig.classifier.checkpoint.model_id == rig.configured


@pytest.mark.usefixtures("cheap")
def test_a_model_that_kills_who_starts_it_is_given_up(rig: Rig, broker: Broker) -> None:
    """Two deaths are enough for this machine; announced anew, it gets another chance."""
    model = rig.always("fire")
    first = announce(broker, model, "ana")
    rig.die_while_trying(model, first.generation)
    assert "died while they started" in rig.start().refusal
    announce(broker, model, "ana")
    assert rig.start().refusal == ""


@pytest.mark.usefixtures("cheap")
def test_deaths_are_counted_by_all_who_look_at_one_time(rig: Rig, broker: Broker) -> None:
    """Workers that start side by side after two deaths both give the model up."""
    model = rig.always("fire")
    first = announce(broker, model, "ana")
    rig.die_while_trying(model, first.generation)
    with contextlib.ExitStack() as looks:
        for mark in (rig.settings.state_dir / "models").glob("trying-*"):
            fcntl.flock(looks.enter_context(mark.open("rb")), fcntl.LOCK_SH)  # as another worker does
        assert "died while they started" in rig.start().refusal


def test_workers_that_start_side_by_side_are_no_deaths(rig: Rig, broker: Broker) -> None:
    """Many that try one model at one time are alive, and it stays."""
    announcement = announce(broker, rig.always("fire"), "ana")
    together, models = threading.Barrier(5), rig.models()

    def run() -> None:
        with models.trying(announcement):
            together.wait(timeout=60)

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list((rig.settings.state_dir / "models").glob("trying-*")) == []


@pytest.mark.usefixtures("cheap")
def test_a_broker_that_lost_its_data_changes_no_model(rig: Rig, broker: Broker) -> None:
    """Without any announcement what decides goes on; the next announcement counts."""
    announce(broker, rig.always("fire"), "ana")
    swapper = rig.start()
    broker.delete(MODEL)
    broker.hset(MODEL, mapping={"current": "nonsense"})
    model = rig.always("protest")
    broker.delete(MODEL)
    assert announce(broker, model, "ana").generation == 1
    assert rig.taken(swapper).classifier.checkpoint.model_id == model.model_id


@pytest.mark.usefixtures("cheap")
def test_only_what_is_needed_stays_on_the_disk(rig: Rig, broker: Broker) -> None:
    """Checkpoints have 43 MB: a worker keeps the one that decides and the one before."""
    swapper = rig.start()
    kept = [rig.always("fire"), rig.always("protest")]
    old = rig.settings.state_dir / "models" / ("c" * 64)
    old.mkdir(parents=True)
    for model in kept:
        announce(broker, model, "ana")
        rig.taken(swapper)
    folder = rig.settings.state_dir / "models"
    wait_until(
        lambda: {each.name for each in folder.iterdir()} == {each.digest for each in kept},
        within_s=60,
        what="others are gone",
    )
