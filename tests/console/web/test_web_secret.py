import stat
import threading
from pathlib import Path

import pytest

from console.web.secret import load_secret
from shared.errors import ConfigError


def test_the_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    """Processes that start at once agree on one secret, in a file that only its owner reads."""
    path = tmp_path / "state" / "web.secret"
    found: set[bytes] = set()
    threads = [threading.Thread(target=lambda: found.add(load_secret(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {path.read_bytes()}
    assert len(path.read_bytes()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["web.secret"]


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Whoever reads the secret could log in as anybody: the console does not start with one that is open."""
    path = tmp_path / "web.secret"
    load_secret(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="can read"):
        load_secret(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="damaged"):
        load_secret(path)
