import pytest
from structlog.testing import CapturingLogger
from worker_parts import admit_names, decision, take

from shared import metrics
from shared.broker import Broker
from shared.verdict import Verdict
from worker.executions import Ending
from worker.tallies import count_batch, count_decided, count_ended

WORKER = metrics.REGISTRIES["worker"]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    """What is logged of batches, and of nothing else that runs beside."""
    log = CapturingLogger()
    monkeypatch.setattr("worker.tallies.log", log)
    return log


def value(name: str, **labels: str) -> float:
    """A sample of this process's worker."""
    return WORKER.get_sample_value(name, labels) or 0.0


def test_every_ending_is_counted_and_those_elsewhere_are_said(broker: Broker, said: CapturingLogger) -> None:
    """With the incident's id: which worker's word counted in the end is in the logs."""
    admit_names(broker, 3)
    executions = take(broker, 3)
    endings = [Ending.PUBLISHED, Ending.SUPERSEDED, Ending.SUPERSEDED]
    before = {ending: value("almenara_worker_jobs_total", ending=ending.value) for ending in endings}
    count_ended(executions, endings)
    assert value("almenara_worker_jobs_total", ending="published") == before[Ending.PUBLISHED] + 1
    assert value("almenara_worker_jobs_total", ending="superseded") == before[Ending.SUPERSEDED] + 2
    assert [line.kwargs["incident"] for line in said.calls] == [each.job_id for each in executions[1:]]


def test_a_verdict_is_one_line_and_one_time(broker: Broker, said: CapturingLogger) -> None:
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
    count_decided(decided, [Ending.PUBLISHED] * 3 + [Ending.SUPERSEDED])
    assert value(name, situation="fire") == fires + 1
    assert value(name, situation="review") == reviews + 1
    assert [(line.kwargs["incident"], line.kwargs["number"]) for line in said.calls] == [
        (each.job_id, each.incident.number) for each in executions[:3] if each.incident
    ]


def test_a_batch_is_timed() -> None:
    """Its size and its three stages, in seconds."""
    before = value("almenara_worker_batch_photographs_sum"), value("almenara_worker_forward_seconds_sum")
    count_batch(16, fetch_s=0.25, judge_s=0.5, publish_s=0.125)
    assert value("almenara_worker_batch_photographs_sum") == before[0] + 16
    assert value("almenara_worker_forward_seconds_sum") == before[1] + 0.5
