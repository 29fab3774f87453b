"""The Helm chart, rendered by Helm itself and held against Kubernetes' schemas; it never ran in a cluster."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.flags import make_parser
from shared.keys import QUEUE
from shared.liveness import SILENT_AFTER_S
from shared.metrics import SERVICES
from shared.settings import Settings

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "almenara"
EVERYTHING: dict[str, Any] = {
    "autoscaling": {"enabled": True},
    "webhooks": {"enabled": True},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "store": {"existingClaim": "pictures"},
    "envFrom": [{"secretRef": {"name": "s3"}}],
    "imagePullSecrets": [{"name": "registry"}],
    "worker": {"nodeSelector": {"gpu": "yes"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
    "web": {"ingress": {"enabled": True, "host": "a.example.org", "tlsSecret": "tls", "className": "nginx"}},
}
OTHERS_OBJECTS = {"ScaledObject", "TriggerAuthentication", "PodMonitor"}
WORKLOADS = {"Deployment", "StatefulSet"}


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object that Helm makes of the chart with these values."""
    helm = pytest.importorskip("helm_python", reason="no Helm: the package helm-python-sdk brings it")
    with helm.Chart.load(str(CHART)) as chart:
        files = chart.render(values, name="alm", namespace="prod")
    texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name of a workload -> what its pods are."""
    found = [each for each in objects if each["kind"] in WORKLOADS]
    return {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in found}


def names(objects: list[dict[str, Any]], kind: str) -> set[str]:
    """Names of the objects of a kind."""
    return {each["metadata"]["name"] for each in objects if each["kind"] == kind}


def environ_of(container: dict[str, Any]) -> dict[str, str]:
    """A container's own variables, each of them once."""
    found = {each["name"]: each["value"] for each in container["env"]}
    assert len(found) == len(container["env"])
    return found


def test_helm_finds_nothing_wrong() -> None:
    """`helm lint --strict` has no error and no warning."""
    helm = pytest.importorskip("helm_python", reason="no Helm: the package helm-python-sdk brings it")
    report = helm.lint(str(CHART), strict=True)
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("values", [{}, EVERYTHING])
def test_kubernetes_schemas_accept_every_object(values: dict[str, Any]) -> None:
    """Each object of Kubernetes' own is right to the last field, as the chart is and with everything on."""
    validate = pytest.importorskip(
        "kubernetes_validate", reason="the package kubernetes-validate is not here"
    )
    objects = rendered(values)
    checked = [each for each in objects if each["kind"] not in OTHERS_OBJECTS]
    for each in checked:
        validate.validate(each, "1.32", strict=True)
    assert len(checked) >= 14


def test_every_pod_may_do_nothing_but_its_work() -> None:
    """The pod security standard `restricted`, a read-only root, limits, probes, no token of the cluster."""
    found = pods(rendered(EVERYTHING))
    assert set(found) == {f"alm-{part}" for part in ("ingest", "worker", "desk", "web", "webhooks")}
    for pod in found.values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(pod["containers"][0])


def test_pods_run_commands_that_there_are_with_settings_that_there_are() -> None:
    """`almenara` understands each command; no variable is made up, twice there, or a secret."""
    known = set(Settings().to_env()) | {"ALMENARA_REDIS_URL_FILE", "ALMENARA_DATABASE_URL_FILE"}
    for pod in pods(rendered(EVERYTHING)).values():
        (container,) = pod["containers"]
        make_parser().parse_args(container["args"])
        assert set(environ_of(container)) <= known - {"ALMENARA_REDIS_URL", "ALMENARA_DATABASE_URL"}
        volumes = {each["name"] for each in pod["volumes"]}
        assert {each["name"] for each in container["volumeMounts"]} <= volumes


def test_each_pod_has_the_secrets_of_its_role_alone() -> None:
    """A worker's pod can't read the web's address of the broker, nor the database's."""
    for name, pod in pods(rendered(EVERYTHING)).items():
        (secret,) = [each["secret"] for each in pod["volumes"] if each["name"] == "secrets"]
        role = {"ingest": "ingester"}.get(name[4:], name[4:])
        expected = {f"{role}.url"} | ({"database.url"} if role in ("desk", "web", "webhooks") else set())
        assert {each["key"] for each in secret["items"]} == expected


def test_the_web_console_may_have_an_address_of_the_record_that_only_reads() -> None:
    """With web.databaseKey its pod has that key of the Secret, and not the desk's address."""
    found = pods(rendered({"web": {"databaseKey": "database-web.url"}}))
    for name, key in (("alm-web", "database-web.url"), ("alm-desk", "database.url")):
        (secret,) = [each["secret"] for each in found[name]["volumes"] if each["name"] == "secrets"]
        assert {each["key"]: each["path"] for each in secret["items"]}[key] == "database.url"
        assert len(secret["items"]) == 2


def test_workers_scale_with_the_queue_and_never_to_none() -> None:
    """KEDA looks at the list that photographs wait in; one worker at least; time to end a batch."""
    objects = rendered(EVERYTHING)
    (scaled,) = [each for each in objects if each["kind"] == "ScaledObject"]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["listName"] == f"rq:queue:{QUEUE}"
    assert scaled["spec"]["minReplicaCount"] >= 1
    assert scaled["spec"]["scaleTargetRef"]["name"] in names(objects, "Deployment")
    assert trigger["authenticationRef"]["name"] in names(objects, "TriggerAuthentication")
    (worker,) = [
        each for each in objects if each["kind"] == "Deployment" and each["metadata"]["name"] == "alm-worker"
    ]
    assert "replicas" not in worker["spec"]  # two would set it: Helm at each upgrade, and KEDA
    grace_s = worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > Settings().batch_timeout_s


def test_every_pod_has_a_network_policy_that_lets_out_what_it_needs() -> None:
    """Desk, web console and webhooks reach the database; only ingester, worker and web the store."""
    objects = rendered(EVERYTHING)
    policies = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "NetworkPolicy"}
    assert set(policies) == set(pods(objects))
    reach = {
        name: {port["port"] for rule in spec["egress"] for port in rule["ports"]}
        for name, spec in policies.items()
    }
    assert all({53, 6379} <= ports for ports in reach.values())
    assert {name for name, ports in reach.items() if 5432 in ports} == {"alm-desk", "alm-web", "alm-webhooks"}
    assert "alm-desk" not in {name for name, ports in reach.items() if 443 in ports}
    assert {policy for policy, spec in policies.items() if "8400" in str(spec["ingress"])} == {"alm-web"}


def test_webhooks_speak_as_the_console_does() -> None:
    """CAP messages of both have one sender, status and address: the settings are the same."""
    values = EVERYTHING | {"settings": {"ALMENARA_CAP_SENDER": "city.example"}}
    found = pods(rendered(values))
    web, webhooks = (environ_of(found[f"alm-{name}"]["containers"][0]) for name in ("web", "webhooks"))
    for name in ("ALMENARA_CAP_SENDER", "ALMENARA_WEB_URL", "ALMENARA_DATABASE_URL_FILE"):
        assert web[name] == webhooks[name]


def test_a_worker_may_compile_its_network_for_minutes() -> None:
    """/livez fails 90 s after the loop's last turn; only much later is a worker restarted."""
    for name, pod in pods(rendered({})).items():
        probe = pod["containers"][0]["livenessProbe"]
        after_s = SILENT_AFTER_S + (probe["failureThreshold"] - 1) * probe["periodSeconds"]
        assert (after_s >= 280) == (name == "alm-worker")


def test_disruptions_take_one_pod_at_a_time() -> None:
    """Workers, desks and web consoles have a budget that never blocks draining a node."""
    objects = rendered({})
    assert names(objects, "PodDisruptionBudget") == {"alm-worker", "alm-desk", "alm-web"}
    assert all(
        each["spec"]["maxUnavailable"] == 1 for each in objects if each["kind"] == "PodDisruptionBudget"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"autoscaling": {"minReplicas": 0}},
        {"settings": {"ALMENARA_REDIS_URL": "redis://user:password@host"}},
        {"worker": {"terminationGracePeriodSeconds": 30}},
        {"wroker": {"replicas": 2}},
        {"image": {"pullPolicy": "sometimes"}},
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any]) -> None:
    """The schema refuses no worker at night, a secret among settings, and words that nobody knows."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(defaults, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, schema)


def test_every_value_that_a_template_reads_is_in_the_values() -> None:
    """A misspelt .Values path would silently be empty."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    paths = {
        path
        for template in (CHART / "templates").iterdir()
        for path in re.findall(r"\.Values((?:\.\w+)+)", template.read_text())
    }
    assert len(paths) > 40
    for path in paths:
        place: Any = defaults
        for word in path[1:].split("."):
            assert word in place, path
            place = place[word]


def test_prometheus_finds_what_the_alerts_ask_for() -> None:
    """Each pod is scraped with the job of the alerts; its component is a service, as they name them."""
    objects = rendered(EVERYTHING)
    (monitor,) = [each for each in objects if each["kind"] == "PodMonitor"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    component = "__meta_kubernetes_pod_label_app_kubernetes_io_component"
    assert endpoint["relabelings"] == [
        {"targetLabel": "job", "replacement": "almenara"},
        {"sourceLabels": [component], "targetLabel": "service"},
    ]
    made = [each["spec"]["template"]["metadata"]["labels"] for each in objects if each["kind"] in WORKLOADS]
    assert {labels["app.kubernetes.io/component"] for labels in made} == set(SERVICES)


def test_the_alerts_are_loaded_as_the_page_says() -> None:
    """Its command makes a PrometheusRule of the alerts' file, of which nothing is lost."""
    (command,) = re.findall(r"```sh\n(\{ printf.*?)```", (CHART / "README.md").read_text(), flags=re.DOTALL)
    shown = subprocess.run(
        ["sh", "-c", command.replace("kubectl apply -f -", "cat")],
        cwd=CHART.parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    rule = yaml.safe_load(shown.stdout)
    assert rule["kind"] == "PrometheusRule"
    alerts = CHART.parents[2] / "deploy" / "prometheus" / "alerts.yml"
    assert rule["spec"] == yaml.safe_load(alerts.read_text(encoding="utf-8"))
