from collections.abc import Sequence

import structlog
from conftest import wait_until
from worker_parts import admit_names, classifier, decision, routing, take

from shared import metrics
from shared.broker import Broker
from shared.images import ImageStore
from shared.liveness import Liveness
from shared.settings import Settings
from shared.verdict import Verdict
from worker.executions import Ending
from worker.keeper import Keeper
from worker.service import BatchWorker
from worker.tallies import count_batch, count_decided, count_ended

WORKER = metrics.REGISTRIES["worker"]


def value(name: str, **labels: str) -> float:
    """A sample of this process's worker."""
    return WORKER.get_sample_value(name, labels) or 0.0


def test_every_ending_is_counted_and_those_elsewhere_are_said(broker: Broker) -> None:
    """With the incident's id: which worker's word counted in the end is in the logs."""
    admit_names(broker, 3)
    executions = take(broker, 3)
    endings = [Ending.PUBLISHED, Ending.SUPERSEDED, Ending.SUPERSEDED]
    before = {ending: value("almenara_worker_jobs_total", ending=ending.value) for ending in endings}
    with structlog.testing.capture_logs() as logs:
        count_ended(executions, endings)
    assert value("almenara_worker_jobs_total", ending="published") == before[Ending.PUBLISHED] + 1
    assert value("almenara_worker_jobs_total", ending="superseded") == before[Ending.SUPERSEDED] + 2
    assert [line["incident"] for line in logs] == [each.job_id for each in executions[1:]]


def test_a_verdict_is_one_line_and_one_time(broker: Broker) -> None:
    """By situation, or review; what is no emergency goes to nobody and takes no time."""
    admit_names(broker, 4)
    executions = take(broker, 4)
    decided = list(
        zip(
            executions,
            [
                decision(),
                decision(Verdict.UNSURE, None),
                decision(Verdict.NO_EMERGENCY, None),
                decision(),
            ],
            strict=True,
        )
    )
    name = "almenara_worker_dispatch_seconds_count"
    fires, reviews = value(name, situation="fire"), value(name, situation="review")
    with structlog.testing.capture_logs() as logs:
        count_decided(decided, [Ending.PUBLISHED] * 3 + [Ending.SUPERSEDED])
    assert value(name, situation="fire") == fires + 1
    assert value(name, situation="review") == reviews + 1
    assert [(line["incident"], line["number"]) for line in logs] == [
        (each.job_id, each.incident.number) for each in executions[:3] if each.incident
    ]


def test_a_batch_is_timed() -> None:
    """Its size and its three stages, in seconds."""
    before = value("almenara_worker_batch_photographs_sum"), value("almenara_worker_forward_seconds_sum")
    count_batch(16, fetch_s=0.25, judge_s=0.5, publish_s=0.125)
    assert value("almenara_worker_batch_photographs_sum") == before[0] + 16
    assert value("almenara_worker_forward_seconds_sum") == before[1] + 0.5


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


def test_whoever_waits_for_the_broker_lives(broker: Broker, store: ImageStore, settings: Settings) -> None:
    """Main loop and publisher ask at each try whether to stop: that counts as a turn."""
    liveness = Liveness()
    worker = BatchWorker(settings, broker, classifier(store), routing(), liveness=liveness)
    liveness._turned_at_s -= 1000
    assert liveness.silent_s() > 900
    worker._told_to_stop()
    assert liveness.silent_s() < 900
