"""Another model, without downtime: real workers under a flood, killed and cut off in the middle of a swap."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from conftest import wait_until
from deployment import Deployment
from model_parts import save_always
from s3_parts import BUCKET, S3Server

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1500)]

FLOOD = 60
SAYS = {"always-fire": "fire", "always-protest": "protest"}


class Models:
    """A deployment and two models, each of which always says the same."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.fire, self.protest = (deployment.folder / f"{name}.safetensors" for name in SAYS)
        for name, situation in SAYS.items():
            save_always(deployment.folder / f"{name}.safetensors", situation)
        # Batches of two, so that a flood lasts for many of them.
        deployment.settings = replace(
            deployment.settings, checkpoint=self.fire, engine="openvino-f32", max_batch=2, threads=1
        )

    def model(self, *arguments: str) -> Any:
        """Run `almenara model`."""
        return self.deployment.run("model", *arguments)

    def said(self, event: str) -> list[dict[str, Any]]:
        """Log lines of the services."""
        text = (self.deployment.folder / "services.log").read_text(errors="replace")
        text, _, _ = text.rpartition("\n")  # the last one may be half written
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def judged(self) -> Counter[str]:
        """How many incidents each model decided; what it said must be what it always says."""
        found: Counter[str] = Counter()
        for incident in self.deployment.incidents():
            name = incident["model"].partition("@")[0]
            assert incident["situation"] == SAYS[name], incident
            found[name] += 1
        return found

    def drop(self, begin: int, count: int) -> None:
        """Put pictures into the inbox."""
        for seed in range(begin, begin + count):
            self.deployment.drop(seed)

    def following(self, workers: int, model: str) -> bool:
        """Whether so many workers run a model."""
        found = json.loads(self.deployment.run_once_broker_answers("model", "list", "--json").stdout)[
            "workers"
        ]
        return bool(sum(each["model"].startswith(f"{model}@") for each in found) == workers)


@pytest.fixture
def models(deployment: Deployment) -> Iterator[Models]:
    """A deployment without services yet."""
    yield Models(deployment)


def test_a_model_is_swapped_under_a_flood(models: Models) -> None:
    """Two workers follow between batches; each incident is judged once, by the model that it names."""
    deployment = models.deployment
    for name, service in (("worker-1", "worker"), ("worker-2", "worker"), ("ingest", "ingest")):
        deployment.start(name, service)
    # One that started later would begin with the new model, and swap nothing.
    wait_until(lambda: models.following(2, "always-fire"), within_s=240, what="both workers are there")
    models.drop(0, FLOOD)
    deployment.wait_decided(1, within_s=240)
    used = models.model("use", str(models.protest), "--by", "ana", "--wait", "200")
    assert used.returncode == 0, used.stdout + used.stderr
    models.drop(FLOOD, 10)
    deployment.wait_decided(FLOOD + 10, within_s=240)
    judged = models.judged()
    assert judged["always-fire"] >= 1
    assert judged["always-protest"] >= 10
    wait_until(lambda: len(models.said("model swapped")) == 2, within_s=240, what="both workers have swapped")
    assert {line["after"].partition("@")[0] for line in models.said("model swapped")} == {"always-protest"}
    deployment.assert_books_balance(FLOOD + 10)


def test_a_bad_checkpoint_is_not_announced(models: Models) -> None:
    """The command says what is wrong with a file, and workers hear nothing of it."""
    content = models.fire.read_bytes()
    (models.deployment.folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    refused = models.model("use", str(models.deployment.folder / "cut.safetensors"))
    assert refused.returncode == 2
    assert "is refused" in refused.stderr
    listed = models.model("list")
    assert "none was announced" in listed.stdout
    assert models.model("rollback").returncode == 2


def test_a_swap_outlives_the_worker_and_the_broker(models: Models) -> None:
    """Killed while it loads, a worker comes back with the announced model; it follows past a dead broker."""
    deployment = models.deployment
    deployment.start("ingest", "ingest")
    deployment.start("worker", "worker")
    models.drop(0, 40)
    deployment.wait_decided(1, within_s=240)
    assert "announced: always-protest@" in models.model("use", str(models.protest), "--wait", "0").stdout
    wait_until(lambda: models.said("another model is announced"), within_s=240, what="the worker loads it")
    deployment.kill("worker")
    deployment.start("worker", "worker")
    deployment.wait_decided(40, within_s=240)
    models.drop(40, 5)
    deployment.wait_decided(45, within_s=240)
    assert models.judged()["always-protest"] >= 5
    assert "announced: the configured checkpoint" in models.model("rollback", "--wait", "0").stdout
    heard = len(models.said("another model is announced"))
    wait_until(
        lambda: len(models.said("another model is announced")) > heard or models.said("model swapped"),
        within_s=240,
        what="the worker loads the one before",
    )
    deployment.kill("broker")
    deployment.start_broker()
    wait_until(lambda: models.said("model swapped"), within_s=240, what="swapped all the same")
    models.drop(45, 5)
    deployment.wait_decided(50, within_s=240)
    assert models.judged()["always-fire"] >= 5
    wait_until(lambda: models.following(1, "always-fire"), within_s=240, what="status says so")
    deployment.assert_books_balance(50)


def test_hosts_share_nothing_but_broker_and_s3(models: Models) -> None:
    """Ingester and workers have state folders of their own, and pictures and models come to all of them."""
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    pytest.importorskip("moto.server", reason="moto's server is not installed")
    deployment, server = models.deployment, S3Server()
    try:
        server.make_bucket()
        deployment.extra_environ |= server.environ
        broker = f"unix://{deployment.settings.broker_socket}"
        deployment.settings = replace(
            deployment.settings, image_store=f"s3://{BUCKET}/city", redis_url=broker
        )
        deployment.start("ingest", "ingest")
        here = deployment.settings.state_dir
        for host in ("north", "south"):
            deployment.settings = replace(deployment.settings, state_dir=deployment.folder / host)
            deployment.start(host, "worker")
        deployment.settings = replace(deployment.settings, state_dir=here)
        models.drop(0, 4)
        deployment.wait_decided(4, within_s=240)
        wait_until(lambda: models.following(2, "always-fire"), within_s=240, what="both workers are there")
        used = models.model("use", str(models.protest), "--wait", "200")
        assert used.returncode == 0, used.stdout + used.stderr
        fetched = {path.parts[-4] for path in deployment.folder.glob("*/models/*/*.safetensors")}
        assert fetched == {"north", "south"}
        models.drop(4, 4)
        deployment.wait_decided(8, within_s=240)
        assert models.judged() == {"always-fire": 4, "always-protest": 4}
        doctor = {each["subject"]: each for each in json.loads(deployment.run("doctor", "--json").stdout)}
        assert doctor["image store"]["health"] == doctor["announced model"]["health"] == "ok"
        deployment.assert_books_balance(8)
    finally:
        server.end()
