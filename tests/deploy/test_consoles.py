"""The services around the desk, as processes."""

from collections.abc import Iterator

import pytest
from conftest import wait_until
from deployment import Deployment

from shared.heartbeats import DESK, living

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]


@pytest.fixture
def scratch() -> Iterator[Deployment]:
    """A deployment in which nothing runs yet."""
    made = Deployment()
    try:
        yield made
    finally:
        made.close()


def test_a_desk_that_is_started_before_its_broker_waits(scratch: Deployment) -> None:
    """No order of starting services is wrong: the desk works as soon as its broker does."""
    desk = scratch.start("desk", "desk")
    log = scratch.folder / "services.log"
    wait_until(lambda: "broker away" in log.read_text(), within_s=100, what="it waits")
    assert desk.poll() is None
    scratch.start_broker()
    wait_until(lambda: living(scratch.client(), DESK), within_s=100, what="the desk works")
    assert scratch.stop("desk") == 0


def test_a_desk_without_its_database_waits(deployment: Deployment) -> None:
    """A database that is away at the start is waited for, and said; the process stays."""
    deployment.extra_environ["ALMENARA_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    desk = deployment.start("desk", "desk")
    log = deployment.folder / "services.log"
    wait_until(lambda: "database away" in log.read_text(), within_s=100, what="it waits")
    assert desk.poll() is None
    assert living(deployment.client(), DESK) == 0
    assert deployment.stop("desk") == 0


def test_a_web_console_for_nobody_does_not_start(deployment: Deployment) -> None:
    """Without a user it ends, and says how to make one."""
    ended = deployment.run("web")
    assert ended.returncode == 2
    assert "almenara user add" in ended.stderr
