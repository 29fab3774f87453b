"""The API against its own description, with whatever schemathesis thinks of."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import make_photograph
from web_parts import WebRig

from console.web.sessions import COOKIE
from shared.broker import Broker
from shared.settings import Settings
from shared.verdict import Verdict

pytest.importorskip("schemathesis", reason="schemathesis is not installed; `make test` installs it")

EXAMPLES = 8
"""Of each route in the fuzzing phase; the coverage phase goes through each parameter beside."""

# The event stream has no end; test_web_live.py reads it. Logging in is limited to five attempts
# (test_web_logins.py), and a logout would end the run's own session (test_web_session.py).
CONFIG = """
suppress-health-check = ["all"]
request-timeout = 60

[auth.openapi.APIKeyCookie]
api_key = {cookie}

[parameters]
"header.X-CSRF-Token" = {csrf}
"path.case" = {case}
"path.incident" = {case}
"query.situation" = "fire"

[generation]
max-examples = {examples}
database = "none"

[phases.stateful]
enabled = false

[[operations]]
include-path = ["/api/live", "/api/session"]
enabled = false

[[operations]]
include-path = "/api/cases/{{case}}/moves"
# Which fields an action needs besides is said in words, not in the schema.
checks.positive_data_acceptance.enabled = false
"""


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind."""
    made = WebRig(settings, broker, explain=lambda image_bytes, situation, model: b"\x89PNG\r\n\x1a\n")
    made.add_everybody()
    with made.desk(), made.serving():
        yield made
    made.close()


@pytest.mark.parametrize("name", ["sol", "vera"])
def test_the_api_does_what_it_says(rig: WebRig, name: str, tmp_path: Path) -> None:
    """Valid requests are accepted, others refused, and every answer is of a described status and shape."""
    case = rig.arrive("fire", label=make_photograph(1).label)
    rig.arrive("fire", verdict=Verdict.UNSURE)
    rig.read(case)
    client = rig.client(name)
    config = CONFIG.format(
        cookie=json.dumps(client.cookies[COOKIE]),
        csrf=json.dumps(client.headers["X-CSRF-Token"]),
        case=json.dumps(case),
        examples=EXAMPLES,
    )
    (tmp_path / "schemathesis.toml").write_text(config)
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{rig.url}/openapi.json",
        "--no-color",
        "--seed=1",
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert "Tested: 14" in ran.stdout, ran.stdout
