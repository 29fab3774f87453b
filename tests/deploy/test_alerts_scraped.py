import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from conftest import wait_until
from prometheus_client import CollectorRegistry

from shared import heartbeats, metrics
from shared.broker import Broker
from shared.liveness import Liveness
from shared.probes import Probes
from shared.settings import Settings
from shared.vital_metrics import VitalsCollector
from worker.executions import renew

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
EXPRESSIONS: dict[str, str] = {
    rule["alert"]: rule["expr"]
    for group in yaml.safe_load((RULES / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
PORTS = {"9401": "ingest", "9411": "worker", "9403": "desk", "9404": "web"}
MISSED = {
    "ingest": "AlmenaraNoIngester",
    "worker": "AlmenaraNoWorker",
    "desk": "AlmenaraNoDesk",
    "web": "AlmenaraNoWeb",
}
WORKER = "0123456789abcdef"

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="prometheus is not installed (Debian package prometheus)"
    ),
]


@dataclass
class Watched:
    """Services' probes, each at a port of its own, and a Prometheus that scrapes them as the example says."""

    broker: Broker
    url: str
    probes: dict[str, Probes]
    living: tuple[str, ...] = ()

    def found(self, alert: str) -> list[dict[str, str]]:
        """What an alert's expression returns now: the labels of each."""
        return query(self.url, EXPRESSIONS[alert])

    def services(self, alert: str) -> list[str]:
        """Those that an alert has a reason to name now."""
        return sorted(each["service"] for each in self.found(alert))

    def until(self, **wanted: bool) -> None:
        """Wait until the alerts of these services have, or have not, a reason to come."""

        def is_so() -> bool:
            self.beat()
            return all(bool(self.found(MISSED[part])) is missed for part, missed in wanted.items())

        wait_until(is_so, within_s=60, what=f"missed: {wanted}")

    def only(self, *parts: str) -> None:
        """From now on these say that they live, and no other."""
        self.broker.flushall()
        self.living = parts
        self.beat()

    def beat(self) -> None:
        """They say so once."""
        for part in self.living:
            if part == "worker":
                renew(self.broker, WORKER, [], 60.0, {"queues": "classify", "model": "m@0 torch-cpu"})
            else:
                heartbeats.beat(self.broker, part, f"{part}-1")


def probe(part: str, broker: Broker, settings: Settings) -> tuple[Probes, int]:
    """A service's probes with what it shows, desk and web with the vitals."""
    registry = CollectorRegistry()
    registry.register(metrics.REGISTRIES[part])  # a registry is a collector, too
    if part in ("desk", "web"):
        registry.register(VitalsCollector(broker, settings, ("firefighters",)))
    probes = Probes(registry, Liveness(), broker)
    return probes, probes.listen("127.0.0.1", 0)


@contextlib.contextmanager
def prometheus(folder: Path, ports: dict[str, int]) -> Iterator[str]:
    """A server with the shipped files: other ports, and it looks every second."""
    text = (RULES / "prometheus.yml").read_text(encoding="utf-8")
    for shipped, part in PORTS.items():
        assert f"127.0.0.1:{shipped}" in text
        text = text.replace(f"127.0.0.1:{shipped}", f"127.0.0.1:{ports[part]}")
    text = re.sub(r"(scrape_interval|evaluation_interval|scrape_timeout): \d+s", r"\1: 1s", text)
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    shutil.copy(RULES / "alerts.yml", folder)
    said = folder / "prometheus.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--web.listen-address=127.0.0.1:0",
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: address(said), within_s=60, what="Prometheus listens")
        yield f"http://{address(said)}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def address(log: Path) -> str:
    """Where it says that it listens; empty: not yet."""
    found = re.search(r'"Listening on" address=(\S+)', log.read_text(encoding="utf-8"))
    return found[1] if found else ""


def ready(url: str) -> bool:
    """Whether Prometheus answers questions."""
    try:
        return httpx.get(f"{url}/-/ready", timeout=60, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def watched(broker: Broker, settings: Settings, tmp_path: Path) -> Iterator[Watched]:
    """Four services that all live."""
    made: dict[str, tuple[Probes, int]] = {part: probe(part, broker, settings) for part in MISSED}
    try:
        with prometheus(tmp_path, {part: port for part, (_, port) in made.items()}) as url:
            seen = Watched(broker, url, {part: probes for part, (probes, _) in made.items()})
            wait_until(lambda: ready(url), within_s=60, what="Prometheus is ready")
            yield seen
    finally:
        for probes, _ in made.values():
            probes.close()


def query(url: str, text: str) -> list[dict[str, Any]]:
    """The series that an expression returns."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": text}, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return [each["metric"] for each in answer.json()["data"]["result"]]


def test_the_dead_are_missed_by_a_real_prometheus(watched: Watched) -> None:
    """Nobody is missed while all beat; then the worker, then all others, then those who told it."""
    wait_until(
        lambda: len(query(watched.url, 'up{job="almenara"} == 1')) == len(MISSED),
        within_s=60,
        what="all are scraped",
    )
    watched.only(*MISSED)
    watched.until(ingest=False, worker=False, desk=False, web=False)
    # A scrape that takes longer than its time is one that fails, until the next.
    wait_until(
        lambda: watched.found("AlmenaraServiceDown") == watched.found("AlmenaraBlind") == [],
        within_s=60,
        what="nothing else is missed",
    )

    watched.only("ingest", "desk", "web")
    watched.until(ingest=False, worker=True, desk=False, web=False)
    watched.only("worker")
    watched.until(ingest=True, worker=False, desk=True, web=True)

    for part in ("desk", "web"):
        watched.probes[part].close()  # and with them what they told of everybody
    watched.until(ingest=False, worker=False, desk=True, web=True)
    wait_until(
        lambda: watched.services("AlmenaraServiceDown") == ["desk", "web"] and watched.found("AlmenaraBlind"),
        within_s=60,
        what="those are down, and nobody tells of the others",
    )
    for part in ("ingest", "worker"):
        watched.probes[part].close()
    watched.until(ingest=True, worker=True, desk=True, web=True)
