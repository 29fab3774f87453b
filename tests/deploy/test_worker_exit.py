"""How a worker's process ends, where Python's own exit takes too long."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import wait_until
from deployment import Deployment

from shared.heartbeats import WORKER, living

PROGRAM = """
import sys
import threading
from deploy import cli, services
services.WORKER_EXIT_S = 0.2
threading.Thread(target=threading.Event().wait).start()  # as one that hangs in a driver: Python waits for it
sys.exit(cli.main(["worker"]))
"""


@pytest.mark.fault
@pytest.mark.timeout(600)
def test_a_worker_that_has_ended_its_work_ends_well_however_long_its_exit_takes(
    deployment: Deployment,
) -> None:
    """Told to stop, with nothing left undone, it is no failed one to who started it; and it does end."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**deployment.environ(), "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=deployment.folder,
        stdout=deployment.log,
        stderr=deployment.log,
    )
    deployment.processes["worker"] = process
    client = deployment.client()
    wait_until(lambda: living(client, WORKER), within_s=100, what="the worker works")
    assert deployment.stop("worker") == 0
