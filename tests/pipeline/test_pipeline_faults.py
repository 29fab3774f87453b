"""The whole pipeline with the shipped model, under kills, cuts and stops."""

import json
import random
import signal
from pathlib import Path

import pytest
from conftest import photographs_folder, wait_until
from deployment import Deployment, decided

from shared.keys import LEASES

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1500)]


def test_real_photographs_reach_the_right_departments(deployment: Deployment) -> None:
    """Of sixty photographs that the model never saw, most dispatches go where they should."""
    folder = photographs_folder()
    chosen = [
        path
        for situation in ("fire", "flood_risk", "accident", "protest", "altercation", "normal")
        for path in sorted((folder / "val" / situation).glob("*.jpg"))[:10]
    ]
    truth = {
        deployment.drop(seed, data=path.read_bytes()): path.parent.name for seed, path in enumerate(chosen)
    }
    deployment.start("ingest", "ingest")
    deployment.start("worker", "worker")
    deployment.wait_decided(60, within_s=300)
    deployment.assert_books_balance(60)
    dispatched = [each for each in deployment.incidents() if each["verdict"] == "dispatched"]
    right = sum(truth[each["name"]] == each["situation"] for each in dispatched)
    assert len(dispatched) >= 30
    assert right / len(dispatched) >= 0.75


def test_workers_killed_in_mid_batch_cost_no_incident(deployment: Deployment) -> None:
    """Two workers, each killed twice while it has a batch: every photograph is decided and told once."""
    seeds = iter(range(1000))
    dropped = [deployment.drop(next(seeds)) for _ in range(80)]
    deployment.start("ingest", "ingest")
    client = deployment.client()

    def has_a_batch() -> bool:
        if client.zcard(LEASES):
            return True
        if decided(client) == len(dropped):  # all of them before we looked
            dropped.extend(deployment.drop(next(seeds)) for _ in range(20))
        return False

    for name in ("worker-1", "worker-2", "worker-1", "worker-2"):
        if name in deployment.processes and deployment.processes[name].poll() is None:
            wait_until(has_a_batch, within_s=240, what="a batch is in flight")
            deployment.kill(name)
        deployment.start(name, "worker")
    deployment.wait_decided(len(dropped), within_s=300)
    deployment.assert_books_balance(len(dropped))


def test_a_broker_killed_under_load_loses_nothing(deployment: Deployment) -> None:
    """The broker is killed three times while photographs flow and restarted on its files; no service ends."""
    services = [deployment.start("ingest", "ingest"), deployment.start("worker", "worker")]
    for turn in range(3):
        for seed in range(turn * 20, turn * 20 + 20):
            deployment.drop(seed)
        deployment.wait_decided(turn * 20 + 3, within_s=240)
        deployment.kill("broker")
        deployment.start_broker()
    deployment.wait_decided(60, within_s=300)
    assert [service.poll() for service in services] == [None, None]
    deployment.assert_books_balance(60)


def test_a_broker_that_hangs_is_waited_for(deployment: Deployment) -> None:
    """A broker stopped for longer than every time-out: services wait, go on, and nothing is done twice."""
    services = [deployment.start("ingest", "ingest"), deployment.start("worker", "worker")]
    deployment.drop(0)
    deployment.wait_decided(1, within_s=240)
    deployment.signal("broker", signal.SIGSTOP)
    for seed in range(1, 30):
        deployment.drop(seed)
    log = deployment.folder / "services.log"
    wait_until(
        lambda: log.read_text(errors="replace").count("broker away") >= 2,
        within_s=240,
        what="both services say so",
    )
    deployment.signal("broker", signal.SIGCONT)
    deployment.wait_decided(30, within_s=240)
    assert [service.poll() for service in services] == [None, None]
    deployment.assert_books_balance(30)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_faults_in_random_order_cost_nothing(deployment: Deployment, seed: int) -> None:
    """Kills, stops and restarts in a seeded order while photographs land: the books balance."""
    chance = random.Random(seed)
    commands = {"ingest-1": "ingest", "ingest-2": "ingest", "worker-1": "worker", "worker-2": "worker"}
    for name, command in commands.items():
        deployment.start(name, command)
    dropped = 0
    for _ in range(10):
        for _ in range(chance.randint(4, 12)):
            deployment.drop(dropped)
            dropped += 1
        deployment.wait_admitted(chance.randint(dropped // 2, dropped), within_s=240)
        _strike(deployment, chance, commands)
    for name, command in commands.items():
        if deployment.processes[name].poll() is not None:
            deployment.start(name, command)
    deployment.wait_decided(dropped, within_s=300)
    deployment.assert_books_balance(dropped)
    assert {incident["seen_count"] for incident in deployment.incidents()} == {"1"}


def _strike(deployment: Deployment, chance: random.Random, commands: dict[str, str]) -> None:
    """One fault; what it ends is started again at once."""
    fault = chance.choice(["kill", "kill", "stop", "broker"])
    if fault == "broker":
        deployment.kill("broker")
        deployment.start_broker()
        return
    name = chance.choice(list(commands))
    if fault == "kill":
        deployment.kill(name)
    else:
        deployment.stop(name)
    deployment.start(name, commands[name])


def test_the_books_are_found_out_of_balance_and_put_right(deployment: Deployment) -> None:
    """An incident deleted by hand is found by the audit, queued again by --repair, and decided."""
    deployment.start("ingest", "ingest")
    deployment.start("worker", "worker")
    for seed in range(3):
        deployment.drop(seed)
    deployment.wait_decided(3, within_s=240)
    client = deployment.client()
    victim = deployment.incidents()[1]
    client.delete(f"almenara:incident:{victim['id']}")
    client.zrem("almenara:incidents", victim["id"])
    assert deployment.run_once_broker_answers("audit").returncode == 1
    repaired = json.loads(deployment.run_once_broker_answers("audit", "--repair", "--json").stdout)
    assert [finding["thing"] for finding in repaired["findings"]] == [victim["id"]]
    deployment.wait_decided(4, within_s=240)
    assert Path(deployment.settings.state_dir, "images", victim["image"]).is_file()
    assert {each["state"] for each in deployment.incidents()} == {"decided"}
