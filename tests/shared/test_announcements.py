import pytest

from shared.announcements import (
    PREVIOUS_KEPT,
    Announcement,
    Model,
    ModelRecordError,
    announce,
    announcement_in,
    history,
    lags,
    roll_back,
)
from shared.broker import Broker
from shared.errors import ConfigError
from shared.keys import MODEL

A, B = Model("a" * 64, "street6"), Model("b" * 64, "street7")


def worker(model: str, generation: int, refused: str = "") -> dict[str, object]:
    """A worker as `shared.vitals.read` has it."""
    return {"model": model, "generation": generation, "refused": refused}


def test_the_last_announced_model_decides(broker: Broker) -> None:
    """An announcement says which model, since when and by whom, and remembers the one before."""
    assert Announcement.fetch(broker) == Announcement()
    announce(broker, A, "ana")
    announce(broker, B, "bo")
    found = Announcement.fetch(broker)
    assert (found.model, found.previous, found.generation, found.by) == (B, (A, None), 2, "bo")
    assert found.since.endswith("Z")
    assert [(each["what"], each["model"], each["by"]) for each in history(broker, 5)] == [
        ("announced", B.model_id, "bo"),
        ("announced", A.model_id, "ana"),
    ]


def test_rolling_back_goes_one_step_further_each_time(broker: Broker) -> None:
    """Two people who both roll back never bring the bad model back; at the end is the configured one."""
    announce(broker, A, "ana")
    announce(broker, B, "ana")
    assert roll_back(broker, "ana").model == A
    assert roll_back(broker, "bo").model is None
    with pytest.raises(ConfigError, match="no model before"):
        roll_back(broker, "cy")


def test_the_same_model_announced_again_is_no_step(broker: Broker) -> None:
    """It only tells the workers that refused it to try again: a rollback still leads to the one before."""
    announce(broker, A, "ana")
    announce(broker, B, "ana")
    again = announce(broker, B, "ana")
    assert (again.previous, again.generation) == ((A, None), 3)


def test_what_is_remembered_is_bounded(broker: Broker) -> None:
    """Announcing models for years does not grow the broker."""
    for number in range(PREVIOUS_KEPT + 5):
        announce(broker, Model(f"{number:064x}", "m"), "ana")
    assert len(Announcement.fetch(broker).previous) == PREVIOUS_KEPT


@pytest.mark.parametrize(
    "current", ["", "xyz", "a" * 64, "a" * 64 + " ../../etc/passwd", "a" * 64 + " .hidden", "A" * 64 + " m"]
)
def test_a_record_that_is_no_model_is_refused(broker: Broker, current: str) -> None:
    """A name becomes a path on every worker's disk: only harmless ones are believed."""
    broker.hset(MODEL, mapping={"current": current, "generation": "1", "previous": ""})
    with pytest.raises(ModelRecordError):
        Announcement.fetch(broker)
    assert announcement_in(broker.hgetall(MODEL)) == Announcement()


def test_who_lags_behind(broker: Broker) -> None:
    """Whoever runs another model than announced, has not heard of it, or refuses it."""
    assert not lags(worker("x@123 torch-cpu", 0), Announcement())
    now = announce(broker, A, "ana")
    assert not lags(worker(f"{A.model_id} torch-cpu", 1), now)
    assert lags(worker(f"{B.model_id} torch-cpu", 1), now)
    assert lags(worker(f"{A.model_id} torch-cpu", 0), now)
    assert lags(worker(f"{A.model_id} torch-cpu", 1, "out of memory"), now)
