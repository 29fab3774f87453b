from typing import Any

import pytest

from deploy.doctor import Health, examine
from deploy.status import gather, lines
from shared.announcements import Model, announce
from shared.broker import Broker
from shared.images import ImageStore
from shared.keys import MODEL
from shared.settings import Settings

A = Model("a" * 64, "street7")
OLD = "street6@0123456789ab torch-cpu"


def worker(broker: Broker, **fields: str) -> None:
    """A worker, as its heartbeats tell."""
    about: dict[Any, Any] = {"hostname": "north", "pid": "7", "state": "idle", **fields}
    broker.hset("rq:worker:w1", mapping=about)
    broker.sadd("rq:workers:classify", "rq:worker:w1")


def line(broker: Broker, settings: Settings) -> str:
    """What `almenara status` says of the worker."""
    return next(each for each in lines(gather(broker, settings)) if each.startswith("Worker"))


def test_status_says_which_worker_lags_and_why(settings: Settings, broker: Broker) -> None:
    """One that has not followed, one that can't, and one that has: each is told from the others."""
    worker(broker, model=OLD)
    assert line(broker, settings).endswith(OLD)
    announce(broker, A, "ana")
    assert f"not yet {A.model_id}" in line(broker, settings)
    worker(broker, model=OLD, model_generation="1", model_refused="out of memory\x1b[2J")
    assert "REFUSES out of memory\\u001B[2J" in line(broker, settings)
    worker(broker, model=f"{A.model_id} torch-cpu", model_generation="1", model_refused="")
    assert line(broker, settings).endswith("torch-cpu")
    assert gather(broker, settings)["model"]["announced"] == A.model_id


@pytest.mark.parametrize("damaged", [False, True])
def test_doctor_finds_an_announced_model_that_nobody_can_have(
    settings: Settings, broker: Broker, store: ImageStore, damaged: bool
) -> None:
    """Its file is gone from the image store, or what is announced is no model at all."""
    announce(broker, A, "ana")
    if damaged:
        broker.hset(MODEL, "current", "nonsense")
    [found] = [each for each in examine(settings, broker) if each.subject == "announced model"]
    assert found.health is Health.FAILED
    assert ("64 hexadecimal digits" if damaged else "no file of street7") in found.detail
