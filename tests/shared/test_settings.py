import os
from dataclasses import fields
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings import PREFIX, UNIX_PATH_LIMIT_BYTES, Settings

EVERYTHING = {
    "ALMENARA_REDIS_URL": "redis://street:hunter2@broker:6379/3",
    "ALMENARA_INBOX": f"/srv/cameras{os.pathsep}/srv/ftp",
    "ALMENARA_STATE_DIR": "/var/lib/almenara",
    "ALMENARA_IMAGE_STORE": "s3://pictures/street",
    "ALMENARA_CHECKPOINT": "/srv/models/other.safetensors",
    "ALMENARA_ROUTING": "/etc/almenara/routing.toml",
    "ALMENARA_ENGINE": "torch-cpu",
    "ALMENARA_MAX_BATCH": "24",
    "ALMENARA_THREADS": "3",
    "ALMENARA_LOG_FORMAT": "json",
    "ALMENARA_LOG_LEVEL": "warning",
    "ALMENARA_RECURSIVE": "yes",
    "ALMENARA_OBSERVER": "polling",
    "ALMENARA_SETTLE_S": "0.25",
    "ALMENARA_RESCAN_S": "7.5",
    "ALMENARA_MAX_FILE_BYTES": "1000000",
    "ALMENARA_MAX_PIXELS": "2000000",
    "ALMENARA_RETENTION_DAYS": "0.5",
    "ALMENARA_LEASE_S": "4",
    "ALMENARA_BATCH_TIMEOUT_S": "30",
    "ALMENARA_DATABASE_URL": "postgresql+psycopg://desk:hunter2@records/almenara",
    "ALMENARA_ACKNOWLEDGE_WITHIN_S": "45",
    "ALMENARA_FALLBACK_AFTER_S": "120",
    "ALMENARA_ON_SCENE_WITHIN_S": "900",
    "ALMENARA_REVIEW_WITHIN_S": "90",
    "ALMENARA_GROUP_RADIUS_M": "200",
    "ALMENARA_GROUP_WITHIN_S": "300",
    "ALMENARA_SAMPLE_RATE": "0",
    "ALMENARA_USERS_FILE": "/etc/almenara/users.json",
    "ALMENARA_WEB_HOST": "192.0.2.7",
    "ALMENARA_WEB_PORT": "8443",
    "ALMENARA_WEB_URL": "https://desk.example.org",
    "ALMENARA_WEB_PROXIES": "192.0.2.8,10.1.0.0/16",
    "ALMENARA_TILE_URL": "https://tiles.example.org/{z}/{x}/{y}.png",
    "ALMENARA_TILE_ATTRIBUTION": "Example Maps",
    "ALMENARA_LABEL_RATE": "30",
    "ALMENARA_CAMERAS": "north-bridge=30, plaza = 2.5",
    "ALMENARA_WEBHOOKS": "/etc/almenara/webhooks.toml",
    "ALMENARA_CAP_SENDER": "dispatch.city.example",
    "ALMENARA_CAP_STATUS": "exercise",
    "ALMENARA_METRICS_HOST": "192.0.2.9",
    "ALMENARA_METRICS_PORT": "9400",
}


def refusal(environ: dict[str, str]) -> str:
    """What the settings say about a wrong environment."""
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(environ)
    return str(caught.value)


def test_nothing_set_gives_the_defaults() -> None:
    """Without variables everything lies beside the current folder, and the broker is our own."""
    settings = Settings.from_env({})
    assert settings == Settings()
    assert (settings.redis_url, settings.inbox, settings.engine) == ("", (Path("inbox"),), "auto")
    assert settings.image_store_url == str(Path("state") / "images")
    assert settings.rejected_dir == Path("state") / "rejected"


def test_an_empty_variable_counts_as_unset() -> None:
    """`ALMENARA_ENGINE=` in a unit file keeps the default."""
    assert Settings.from_env(dict.fromkeys(EVERYTHING, "")) == Settings()


def test_the_default_files_are_there() -> None:
    """The model and the routing file that nobody has to name come with the program."""
    assert Settings().checkpoint.is_file()
    assert Settings().routing.is_file()


def test_every_setting_can_be_chosen() -> None:
    """Each field has its variable, and none keeps its default when that is set."""
    settings = Settings.from_env(EVERYTHING)
    kept = [
        each.name
        for each in fields(Settings)
        if getattr(settings, each.name) == getattr(Settings(), each.name)
    ]
    assert kept == []
    assert settings.inbox == (Path("/srv/cameras"), Path("/srv/ftp"))
    assert (settings.max_batch, settings.recursive, settings.settle_s) == (24, True, 0.25)


def test_a_home_folder_is_understood() -> None:
    """`~` means the user's home in every folder, as in a shell."""
    settings = Settings.from_env({"ALMENARA_INBOX": "~/inbox", "ALMENARA_STATE_DIR": "~/state"})
    assert settings.inbox == (Path.home() / "inbox",)
    assert settings.state_dir == Path.home() / "state"


WRONG = {
    "ALMENARA_INBOX": "~nosuchuser/inbox",
    "ALMENARA_ENGINE": "abacus",
    "ALMENARA_MAX_BATCH": "0",
    "ALMENARA_THREADS": "many",
    "ALMENARA_RECURSIVE": "perhaps",
    "ALMENARA_SETTLE_S": "nan",
    "ALMENARA_RESCAN_S": "inf",
    "ALMENARA_RETENTION_DAYS": "-1",
    "ALMENARA_MAX_FILE_BYTES": "1.5",
    "ALMENARA_LOG_LEVEL": "loud",
    "ALMENARA_SAMPLE_RATE": "2",
    "ALMENARA_CAP_SENDER": "the city",
    "ALMENARA_CAP_STATUS": "practice",
    "ALMENARA_WEB_PORT": "65536",
    "ALMENARA_WEB_URL": "desk.example.org",
    "ALMENARA_WEB_PROXIES": "*",
    "ALMENARA_TILE_URL": "https://tiles.example.org/{z}/{x}.png",
    "ALMENARA_ACKNOWLEDGE_WITHIN_S": "0",
}


@pytest.mark.parametrize("variable", WRONG)
def test_a_wrong_value_is_named_with_its_variable(variable: str) -> None:
    """Each kind of value is checked, and the message holds variable and value."""
    said = refusal({variable: WRONG[variable]})
    assert f"{variable}={WRONG[variable]!r}" in said


def test_every_fault_is_told_at_once() -> None:
    """One start tells all there is to correct."""
    said = refusal(WRONG)
    assert [variable for variable in WRONG if variable not in said] == []


def test_an_unknown_variable_is_a_fault() -> None:
    """A misspelt setting is not silently ignored; what is not ours, and the tests' own, is."""
    assert "ALMENARA_INBOXES" in refusal({"ALMENARA_INBOXES": "/srv"})
    assert Settings.from_env({"ALMENARA_PHOTOS": "/srv", "PATH": "/bin", "REDIS_URL": "x"}) == Settings()


def test_settings_that_contradict_each_other_are_faults(tmp_path: Path) -> None:
    """Faults between settings are found too: no inbox, state inside it, a lease too short."""
    inside = {"ALMENARA_INBOX": str(tmp_path), "ALMENARA_STATE_DIR": str(tmp_path / "state")}
    assert Settings.from_env(inside).recursive is False
    assert "ALMENARA_STATE_DIR" in refusal(inside | {"ALMENARA_RECURSIVE": "yes"})
    assert "ALMENARA_STATE_DIR" in refusal(inside | {"ALMENARA_STATE_DIR": str(tmp_path)})
    said = refusal({"ALMENARA_INBOX": os.pathsep, "ALMENARA_LEASE_S": "1"})
    assert "ALMENARA_INBOX" in said
    assert "ALMENARA_LEASE_S" in said


def test_a_fallback_before_the_first_reminder_is_a_fault() -> None:
    """Nobody is passed over before they have been reminded; at once with the first reminder is allowed."""
    said = refusal({"ALMENARA_ACKNOWLEDGE_WITHIN_S": "90", "ALMENARA_FALLBACK_AFTER_S": "60"})
    assert "ALMENARA_FALLBACK_AFTER_S=60" in said
    assert "ALMENARA_ACKNOWLEDGE_WITHIN_S=90" in said
    both = {"ALMENARA_ACKNOWLEDGE_WITHIN_S": "60", "ALMENARA_FALLBACK_AFTER_S": "60"}
    assert Settings.from_env(both).fallback_after_s == 60


def test_record_and_users_lie_in_the_state_folder(tmp_path: Path) -> None:
    """Unless they are named elsewhere; a web address loses its last slash."""
    settings = Settings(state_dir=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path / 'desk.db'}"
    assert settings.users_path == tmp_path / "users.json"
    chosen = Settings.from_env(EVERYTHING | {"ALMENARA_WEB_URL": "https://desk.example.org/"})
    assert chosen.database == EVERYTHING["ALMENARA_DATABASE_URL"]
    assert chosen.users_path == Path("/etc/almenara/users.json")
    assert chosen.web_url == "https://desk.example.org"


def test_a_flag_wins_over_the_environment() -> None:
    """A flag that was given replaces the variable's value; one that was not leaves it."""
    settings = Settings.from_env(EVERYTHING)
    changed = settings.override(inbox=(Path("/srv/other"),), engine=None)
    assert changed.inbox == (Path("/srv/other"),)
    assert changed.engine == settings.engine == "torch-cpu"


def test_flags_are_checked_like_variables(tmp_path: Path) -> None:
    """An inbox given as a flag may not be the state folder either."""
    with pytest.raises(ConfigError, match="ALMENARA_STATE_DIR"):
        Settings(state_dir=tmp_path).override(inbox=(tmp_path,))


def test_secrets_are_never_shown() -> None:
    """URLs that hold a password are shown as set, and not in the faults of others."""
    rows = Settings.from_env(EVERYTHING).described()
    for variable in ("ALMENARA_REDIS_URL", "ALMENARA_DATABASE_URL"):
        assert (variable, "(set)") in [row[:2] for row in rows]
    assert "hunter2" not in repr(rows)
    assert "hunter2" not in refusal(EVERYTHING | {"ALMENARA_ENGINE": "abacus"})


def test_the_list_of_settings_explains_each() -> None:
    """What `doctor --settings` prints has every variable with a meaning."""
    rows = {variable: about for variable, _, about in Settings().described()}
    assert set(rows) == {PREFIX + each.name.upper() for each in fields(Settings)}
    assert all(rows.values())


@pytest.mark.parametrize("environ", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_a_child_process_gets_the_same_settings(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is handed to a child gives equal settings, with every path made absolute."""
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env(environ)
    handed = Settings.from_env(settings.to_env())
    assert handed == settings.override(
        inbox=tuple(part.resolve() for part in settings.inbox), state_dir=settings.state_dir.resolve()
    )


def test_the_broker_listens_in_the_state_folder(tmp_path: Path) -> None:
    """The socket lies in a folder of its own inside the state folder."""
    state = Path("/tmp/almenara-s")  # noqa: S108 - short on purpose, and nothing is made there
    assert Settings(state_dir=state).broker_socket == state.resolve() / "run" / "broker.sock"


def test_a_state_folder_too_deep_for_a_socket_still_works(tmp_path: Path) -> None:
    """A Unix socket's path is limited, so a deep state folder gets a short one, of its own and always it."""
    deep = tmp_path / ("d" * UNIX_PATH_LIMIT_BYTES)
    one, again, other = (
        Settings(state_dir=folder).broker_socket for folder in (deep, deep, deep.with_name("e" * 200))
    )
    assert len(os.fsencode(one)) < UNIX_PATH_LIMIT_BYTES
    assert one == again
    assert one.parent != other.parent


@pytest.mark.parametrize("part", ["images", "rejected", "broker"])
def test_an_inbox_among_our_own_folders_is_refused(tmp_path: Path, part: str) -> None:
    """An ingester there would take in what Almenara itself keeps."""
    with pytest.raises(ConfigError, match="ALMENARA_INBOX"):
        Settings.from_env({"ALMENARA_STATE_DIR": str(tmp_path), "ALMENARA_INBOX": str(tmp_path / part)})


def test_a_store_in_one_process_is_refused() -> None:
    """What the ingester keeps in its own memory no worker can see."""
    with pytest.raises(ConfigError, match="ALMENARA_IMAGE_STORE"):
        Settings.from_env({"ALMENARA_IMAGE_STORE": "memory://"})


def test_cameras_have_their_minutes() -> None:
    """The labels of cameras are read with the silence that is an alarm, in seconds."""
    assert Settings.from_env(EVERYTHING).silence_s == {"north-bridge": 1800.0, "plaza": 150.0}


@pytest.mark.parametrize("text", ["plaza", "plaza=", "=3", "plaza=-1", "plaza=soon", "plaza=1, plaza=2"])
def test_a_camera_without_minutes_is_refused(text: str) -> None:
    """What is no list of labels and minutes is refused, naming the variable."""
    assert "ALMENARA_CAMERAS" in refusal({"ALMENARA_CAMERAS": text})


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    """What a service's manager hands out as a file is read from there."""
    secret = tmp_path / "url"
    secret.write_text("redis://worker:hunter2@broker.example.org/0\n")
    settings = Settings.from_env({"ALMENARA_REDIS_URL_FILE": str(secret)})
    assert settings.redis_url == "redis://worker:hunter2@broker.example.org/0"


@pytest.mark.parametrize(
    "environ",
    [
        {"ALMENARA_REDIS_URL_FILE": "/nowhere/url"},
        {"ALMENARA_REDIS_URL_FILE": "/etc/hostname", "ALMENARA_REDIS_URL": "redis://:hunter2@a"},
        {"ALMENARA_ENGINE_FILE": "/etc/hostname"},
    ],
    ids=["missing", "both", "no secret"],
)
def test_a_wrong_file_of_a_secret_is_refused(environ: dict[str, str]) -> None:
    """A file that is not there, is one of two sources, or is for what is no secret: the variable is named."""
    assert next(iter(environ)) in refusal(environ)
    assert "hunter2" not in refusal(environ)
