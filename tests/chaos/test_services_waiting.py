"""Services that start, or are told to stop, while the broker comes and goes: found by the fault suite."""

from collections.abc import Iterator

import pytest
from conftest import wait_until
from deployment import Deployment

from shared.broker import StoppedError, check, connect
from shared.settings import Settings

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """A deployment whose broker does not run yet."""
    made = Deployment()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("service", ["worker", "desk"])
def test_a_service_told_to_stop_before_there_is_a_broker_ends_well(
    deployment: Deployment, service: str
) -> None:
    """It waits, says so, and ends with 0: a service manager must not count it as failed."""
    process = deployment.start(service, service)
    log = deployment.folder / "services.log"
    wait_until(
        lambda: "broker away" in log.read_text(errors="replace") or process.poll() is not None,
        within_s=240,
        what="it waits",
    )
    assert deployment.stop(service) == 0


def test_a_check_waits_for_a_broker_until_it_is_told_to_stop(settings: Settings) -> None:
    """A broker that goes away between two commands at the start ends no service."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    nobody = connect(settings.override(redis_url="redis://127.0.0.1:1"))
    with pytest.raises(StoppedError):
        check(nobody, settings, stop=stop)
    assert len(asked) == 3
    running = connect(settings)
    assert check(running, settings, stop=lambda: False)["redis_version"]
    running.close()
