"""The keeper: what it says of the main loop, what it lets go of, and when it ends the process."""

from collections.abc import Sequence

import pytest
from conftest import wait_until
from structlog.testing import CapturingLogger
from worker_parts import (
    LEASE_S,
    admit_names,
    decision,
    expire,
    take,
    terms,
)

from shared.broker import Broker
from worker.executions import finish, sweep
from worker.keeper import EXIT_HUNG, Keeper


def test_the_keeper_vouches_for_the_main_loop_only_while_a_batch_is_in_time(broker: Broker) -> None:
    """It may wait for the model, which the keeper watches; a loop that hangs by itself is not covered up."""
    admit_names(broker, 1)
    batch, vouched, renewed = take(broker, 1), list[int](), list[int]()

    def about() -> dict[str, str]:
        renewed.append(1)
        return {"state": "busy"}

    def pass_on(rounds: int, what: Sequence[int]) -> None:
        enough = len(what) + rounds
        wait_until(lambda: len(what) >= enough, within_s=60, what="the keeper goes round")

    keeper = Keeper(broker, "w1", about, lease_s=0.2, batch_timeout_s=600, in_time=lambda: vouched.append(1))
    keeper.start()
    try:
        pass_on(3, renewed)
        assert not vouched
        keeper.hold(batch)
        pass_on(2, vouched)
        keeper.judged(batch)
        pass_on(1, renewed)
        so_far = len(vouched)
        pass_on(3, renewed)
        assert len(vouched) == so_far
    finally:
        keeper.stop()


def test_the_keeper_lets_go_of_what_was_taken_back(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so once, and does not renew what is another worker's."""
    admit_names(broker, 1)
    (execution,) = take(broker, 1)
    keeper = Keeper(broker, "w1", lambda: {"state": "busy"}, lease_s=LEASE_S, batch_timeout_s=60)
    keeper.hold([execution])
    expire(broker, execution)
    sweep(broker, LEASE_S)
    monkeypatch.setattr("worker.keeper.log", log := CapturingLogger())
    keeper.renew()
    keeper.renew()
    assert keeper.held() == []
    assert [call.method_name for call in log.calls] == ["warning"]


def test_the_keeper_does_not_miss_what_ended_while_it_renewed(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was published between asking and answering was not taken back, and nobody says so."""
    admit_names(broker, 1)
    (execution,) = take(broker, 1)

    def end_it() -> dict[str, str]:
        finish(broker, [(execution, decision())], terms())
        keeper.drop([execution])
        return {"state": "busy"}

    keeper = Keeper(broker, "w1", end_it, lease_s=LEASE_S, batch_timeout_s=60)
    keeper.hold([execution])
    monkeypatch.setattr("worker.keeper.log", log := CapturingLogger())
    keeper.renew()
    assert log.calls == []


def test_what_ends_while_its_batch_is_published_was_not_taken(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal between the end of a job and the worker's knowing of it raises no false alarm."""
    admit_names(broker, 1)
    batch = take(broker, 1)
    keeper = Keeper(broker, "w1", lambda: {"state": "busy"}, lease_s=LEASE_S, batch_timeout_s=60)
    keeper.hold(batch)
    keeper.judged(batch)
    finish(broker, [(execution, decision()) for execution in batch], terms())
    monkeypatch.setattr("worker.keeper.log", log := CapturingLogger())
    keeper.renew()
    assert log.calls == []


def run_until(keeper: Keeper, codes: Sequence[int]) -> None:
    """Run it until it ends the process; after this it runs no more, or it would end the tests themselves."""
    keeper.start()
    try:
        wait_until(lambda: codes, within_s=60, what="the process is ended")
    finally:
        keeper.stop()
        wait_until(lambda: not keeper._thread.is_alive(), within_s=50, what="the keeper has stopped")


def test_a_hung_worker_ends_though_its_jobs_were_taken_back(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has nothing to lose any more, and would otherwise stand about for ever, looking alive."""
    admit_names(broker, 1)
    (execution,) = take(broker, 1)
    expire(broker, execution)
    sweep(broker, LEASE_S)
    codes: list[int] = []
    monkeypatch.setattr("worker.keeper.os._exit", codes.append)
    keeper = Keeper(broker, "w1", lambda: {"state": "busy"}, lease_s=0.1, batch_timeout_s=0.2)
    keeper.hold([execution])
    keeper.renew()
    run_until(keeper, codes)
    assert codes[0] == EXIT_HUNG


def test_a_batch_that_hangs_behind_another_ends_the_process(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the batch before it got through the model is no excuse."""
    admit_names(broker, 2)
    codes: list[int] = []
    monkeypatch.setattr("worker.keeper.os._exit", codes.append)
    keeper = Keeper(broker, "w1", lambda: {"state": "busy"}, lease_s=0.1, batch_timeout_s=0.2)
    first, second = take(broker, 1), take(broker, 1)
    keeper.hold(first)
    keeper.hold(second)
    assert keeper.held() == first + second
    keeper.judged(first)
    run_until(keeper, codes)
    assert codes[0] == EXIT_HUNG
