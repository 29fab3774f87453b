import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

import ingest.claims
from ingest.claims import CLAIMS_FOLDER, Claim, Claims, claimed_files

# An ingester that claims every file, and then hangs until it is killed.
HOLDER = """
import sys
from pathlib import Path
from ingest.claims import Claims
inbox = Path(sys.argv[1])
claims = Claims(inbox, "other")
held = [claims.take(path) for path in sorted(inbox.rglob("*.jpeg")) if ".almenara" not in path.parts]
print("holding", flush=True)
sys.stdin.read()
"""
NAME = "33.8568, 151.2153.jpeg"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def claims(inbox: Path) -> Iterator[Claims]:
    """The claims of this process."""
    made = Claims(inbox, "this")
    yield made
    made.close()


Hold = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def hold(inbox: Path) -> Iterator[Hold]:
    """Start another ingester that claims what is in the inbox, and wait until it has."""
    started = []

    def start() -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(inbox)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def put(inbox: Path, name: str = NAME, data: bytes = b"picture") -> Path:
    """A file in the inbox."""
    path = inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process as a crash would."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)


def taken(claims: Claims, path: Path) -> Claim:
    """A claim that must succeed."""
    claim = claims.take(path)
    assert claim is not None
    return claim


def test_a_claim_takes_the_file_out_of_the_inbox(claims: Claims, inbox: Path) -> None:
    """The file is gone from its place at once, and whole under its own name in ours."""
    path = put(inbox)
    claim = taken(claims, path)
    assert not path.exists()
    assert claim.path == inbox / CLAIMS_FOLDER / "this" / claim.claim_id / NAME
    assert claim.path.read_bytes() == b"picture"
    assert (claim.name, claim.subfolder) == (NAME, "")


def test_a_name_may_be_used_again_at_once(claims: Claims, inbox: Path) -> None:
    """A camera that overwrites its one name loses no picture that was claimed."""
    claimed = [taken(claims, put(inbox, data=data)) for data in (b"one", b"two", b"three")]
    assert [claim.path.read_bytes() for claim in claimed] == [b"one", b"two", b"three"]
    assert claims.held() == 3


def test_a_subfolder_is_remembered(claims: Claims, inbox: Path) -> None:
    """The folder that a file was in says which camera sent it."""
    claim = taken(claims, put(inbox, f"north/gate 7/{NAME}"))
    assert (claim.name, claim.subfolder) == (NAME, "north/gate 7")


def test_a_file_that_is_gone_is_no_claim(claims: Claims, inbox: Path) -> None:
    """Somebody was faster: there is nothing to hold, and no folder is left behind."""
    assert claims.take(inbox / NAME) is None
    assert claims.held() == 0


def test_two_claimers_one_winner(claims: Claims, inbox: Path) -> None:
    """Of two ingesters that see the same files, each file goes to exactly one."""
    other = Claims(inbox, "other")
    paths = [put(inbox, f"{number}.jpeg") for number in range(60)]
    together = threading.Barrier(2)
    won: dict[str, list[Claim]] = {"this": [], "other": []}

    def run(name: str, claimer: Claims) -> None:
        together.wait(timeout=60)
        won[name] = [claim for path in paths if (claim := claimer.take(path))]

    threads = [threading.Thread(target=run, args=each) for each in (("this", claims), ("other", other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [claim.name for claim in won["this"] + won["other"]]
    assert sorted(names) == sorted(path.name for path in paths)
    other.close()


def test_claims_of_a_dead_ingester_are_adopted(claims: Claims, inbox: Path, hold: Hold) -> None:
    """What a killed ingester held is taken over under its own name and claim id, once."""
    put(inbox)
    kill(hold())
    (before,) = claimed_files(inbox)
    (claim,) = claims.adopt()
    assert (claim.name, claim.claim_id) == (NAME, before.parent.name)
    assert claim.path.read_bytes() == b"picture"
    assert claims.adopt() == []


def test_claims_of_a_living_ingester_are_its_own(claims: Claims, inbox: Path, hold: Hold) -> None:
    """Nothing is taken from one that runs."""
    put(inbox)
    hold()
    assert claims.adopt() == []
    assert len(claimed_files(inbox)) == 1


def test_adoption_keeps_the_subfolder(claims: Claims, inbox: Path, hold: Hold) -> None:
    """Where a file was in the inbox outlives a crash too."""
    put(inbox, f"north/gate 7/{NAME}")
    kill(hold())
    assert [(claim.name, claim.subfolder) for claim in claims.adopt()] == [(NAME, "north/gate 7")]


def test_a_crash_before_the_rename_leaves_nothing(claims: Claims, inbox: Path, hold: Hold) -> None:
    """A claim's folder without a file is cleared away, and the next one is adopted."""
    put(inbox)
    kill(hold())
    (inbox / CLAIMS_FOLDER / "other" / "0000" / "north").mkdir(parents=True)
    assert [claim.name for claim in claims.adopt()] == [NAME]
    assert not (inbox / CLAIMS_FOLDER / "other").exists()
    assert claims.held() == 1


def test_adopting_leaves_no_trace_of_the_dead(claims: Claims, inbox: Path, hold: Hold) -> None:
    """Folder and lock of the dead instance go, so that a year of crashes leaves no litter."""
    put(inbox)
    kill(hold())
    claims.adopt()
    assert sorted(path.name for path in (inbox / CLAIMS_FOLDER).iterdir()) == ["this", "this.lock"]


def test_one_that_ends_while_it_is_looked_at_leaves_no_trace(
    claims: Claims, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the sight of its folder and the try of its lock both go: nothing is adopted, nothing left."""
    other, locked = Claims(inbox, "other"), ingest.claims._locked

    def late(path: Path) -> int | None:
        other.close()
        return locked(path)

    monkeypatch.setattr(ingest.claims, "_locked", late)
    with structlog.testing.capture_logs() as said:
        assert claims.adopt() == []
    assert [line for line in said if line["log_level"] == "warning"] == []
    assert sorted(path.name for path in (inbox / CLAIMS_FOLDER).iterdir()) == ["this", "this.lock"]


def test_a_released_claim_is_gone(claims: Claims, inbox: Path) -> None:
    """Once the broker has it, the file and its folders go."""
    claim = taken(claims, put(inbox, f"north/{NAME}"))
    claims.release(claim)
    assert claims.held() == 0
    assert claimed_files(inbox) == []


def test_a_claim_that_a_person_removed_can_be_released(claims: Claims, inbox: Path) -> None:
    """Whoever clears away the folder of a claim does not bring the ingester down."""
    claim = taken(claims, put(inbox, f"north/{NAME}"))
    shutil.rmtree(claim.path.parents[1])
    claims.release(claim)
    assert claims.held() == 0


def test_what_somebody_put_beside_a_claim_is_left(claims: Claims, inbox: Path) -> None:
    """A stranger's file in a claim's folder is neither removed nor a reason to fail."""
    claim = taken(claims, put(inbox))
    claim.path.with_name("notes.txt").write_text("mine")
    claims.release(claim)
    assert [path.name for path in claimed_files(inbox)] == ["notes.txt"]


def test_an_idle_ingester_leaves_nothing(inbox: Path) -> None:
    """One that ends with nothing held takes its folder and its lock with it."""
    claims = Claims(inbox, "brief")
    claims.release(taken(claims, put(inbox)))
    claims.close()
    assert list((inbox / CLAIMS_FOLDER).iterdir()) == []


def test_what_is_held_at_the_end_is_adopted(claims: Claims, inbox: Path) -> None:
    """An ingester that is stopped with files in hand leaves them to the next."""
    stopped = Claims(inbox, "stopped")
    held = taken(stopped, put(inbox))
    stopped.close()
    assert [claim.claim_id for claim in claims.adopt()] == [held.claim_id]


def test_one_name_one_ingester(claims: Claims, inbox: Path) -> None:
    """Two instances of one name would adopt each other: the second does not start."""
    with pytest.raises(FileExistsError, match="this"):
        Claims(inbox, "this")


def test_what_can_not_be_cleared_away_holds_up_no_claim(claims: Claims, inbox: Path, hold: Hold) -> None:
    """A stray file in a dead ingester's folder costs a warning, and not the photographs beside it."""
    put(inbox)
    kill(hold())
    (inbox / CLAIMS_FOLDER / "other" / "stray").write_text("of a person")
    assert [claim.name for claim in claims.adopt()] == [NAME]
    assert claims.adopt() == []


def test_an_inbox_that_was_replaced_is_claimed_from_again(claims: Claims, inbox: Path) -> None:
    """A person who empties the inbox, our own folder in it too, ends no work; and we are seen to live."""
    shutil.rmtree(inbox)
    inbox.mkdir()
    claim = taken(claims, put(inbox))
    assert claim.path.read_bytes() == b"picture"
    with pytest.raises(FileExistsError):
        Claims(inbox, "this")
