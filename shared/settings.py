"""Every setting, read once from the environment and passed down. Command line > environment > default."""

import hashlib
import os
import tempfile
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from shared import values
from shared.errors import ConfigError

PREFIX = "ALMENARA_"
FILE = "_FILE"
"""Ends the name of a variable that names the file with a secret, as services' managers hand them out."""

UNIX_PATH_LIMIT_BYTES = 104
"""Least of what systems allow for the path of a Unix socket (sun_path: 108 on Linux, 104 on BSD)."""

_ROOT = Path(__file__).resolve().parent.parent


def _setting(parse: Callable[[str], Any], about: str, *, secret: bool = False) -> Mapping[str, Any]:
    return types.MappingProxyType({"parse": parse, "about": about, "secret": secret})


def _text_of(variable: str, environ: Mapping[str, str], *, secret: bool) -> str:
    """The text of a setting; a secret may lie in a file that <variable>_FILE names."""
    text, name = environ.get(variable, ""), environ.get(variable + FILE, "") if secret else ""
    if not name:
        return text
    if text:
        raise ValueError(f"{variable} and {variable}{FILE}: only one of them can be")
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{variable}{FILE}={name!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{variable}{FILE}={name!r}: is no text") from error


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator can choose. Each field is the environment variable ALMENARA_<FIELD IN CAPITALS>."""

    redis_url: str = field(
        default="",
        repr=False,
        metadata=_setting(
            str,
            "broker, as redis://, rediss://, redis+sentinel:// or unix://; empty: the private one",
            secret=True,
        ),
    )
    inbox: tuple[Path, ...] = field(
        default=(Path("inbox"),),
        metadata=_setting(values.paths, f"folders that photographs land in, separated by {os.pathsep!r}"),
    )
    state_dir: Path = field(
        default=Path("state"),
        metadata=_setting(values.path, "folder for everything Almenara keeps on this machine"),
    )
    image_store: str = field(
        default="", metadata=_setting(str, "folder or fsspec URL of the image store; empty: STATE_DIR/images")
    )
    checkpoint: Path = field(
        default=_ROOT / "models" / "street6-resnet34.safetensors",
        metadata=_setting(values.path, "the model file"),
    )
    routing: Path = field(
        default=_ROOT / "shared" / "routing.toml",
        metadata=_setting(values.path, "which situation goes to which departments"),
    )
    engine: str = field(
        default="auto",
        metadata=_setting(
            values.one_of(
                "auto", "torch-cuda", "openvino-int8", "openvino-bf16", "openvino-f32", "torch-cpu"
            ),
            "what runs the model; auto: the fastest that can, as `almenara doctor` says",
        ),
    )
    max_batch: int | None = field(
        default=None,
        metadata=_setting(
            values.auto_or_positive, "photographs in one forward pass; auto: about 0.5 s of work"
        ),
    )
    threads: int | None = field(
        default=None,
        metadata=_setting(values.auto_or_positive, "CPU threads of the engine; auto: every core"),
    )
    log_format: str = field(
        default="auto",
        metadata=_setting(values.one_of("auto", "console", "json"), "auto: console on a terminal, else json"),
    )
    log_level: str = field(
        default="info",
        metadata=_setting(values.one_of("debug", "info", "warning", "error"), "least severe line logged"),
    )
    recursive: bool = field(
        default=False, metadata=_setting(values.flag, "take photographs from subfolders of the inbox")
    )
    observer: str = field(
        default="native",
        metadata=_setting(
            values.one_of("native", "polling"), "polling: for network file systems that send no events"
        ),
    )
    settle_s: float = field(
        default=2.0,
        metadata=_setting(
            values.positive(float), "seconds without change before a file of unknown state counts as whole"
        ),
    )
    rescan_s: float = field(
        default=15.0, metadata=_setting(values.positive(float), "seconds between full looks into the inbox")
    )
    max_file_bytes: int = field(
        default=64 * 1024 * 1024, metadata=_setting(values.positive(int), "largest picture file taken in")
    )
    max_pixels: int = field(
        default=100_000_000, metadata=_setting(values.positive(int), "most pixels of a picture")
    )
    retention_days: float = field(
        default=30.0,
        metadata=_setting(values.positive(float), "days that pictures and incident records are kept"),
    )
    lease_s: float = field(
        default=8.0,
        metadata=_setting(
            values.positive(float), "seconds after which a silent worker's jobs are taken back"
        ),
    )
    batch_timeout_s: float = field(
        default=60.0,
        metadata=_setting(
            values.positive(float), "seconds after which a worker stuck in one batch ends itself"
        ),
    )

    database_url: str = field(
        default="",
        repr=False,
        metadata=_setting(
            str,
            "the desk's record, as postgresql+psycopg:// or sqlite:///; empty: STATE_DIR/desk.db",
            secret=True,
        ),
    )
    acknowledge_within_s: float = field(
        default=60.0,
        metadata=_setting(
            values.positive(float), "seconds after which what nobody acknowledged sounds again, and again"
        ),
    )
    fallback_after_s: float = field(
        default=180.0,
        metadata=_setting(
            values.positive(float), "seconds after which what nobody acknowledged goes to the fallback too"
        ),
    )
    on_scene_within_s: float = field(
        default=1800.0,
        metadata=_setting(
            values.positive(float),
            "seconds after which what was acknowledged, without units on scene, comes back",
        ),
    )
    review_within_s: float = field(
        default=120.0,
        metadata=_setting(
            values.positive(float), "seconds after which what nobody reviewed goes out, marked UNVERIFIED"
        ),
    )
    group_radius_m: float = field(
        default=150.0,
        metadata=_setting(
            values.positive(float), "metres within which pictures of one situation are one case"
        ),
    )
    group_within_s: float = field(
        default=600.0,
        metadata=_setting(
            values.positive(float), "seconds within which pictures of one situation are one case"
        ),
    )
    sample_rate: float = field(
        default=0.02,
        metadata=_setting(values.share, "share of the pictures without an emergency that reviewers check"),
    )
    users_file: str = field(
        default="",
        metadata=_setting(str, "who may log in (`almenara user add`); empty: STATE_DIR/users.json"),
    )
    web_host: str = field(
        default="127.0.0.1", metadata=_setting(str, "address that the web console listens on")
    )
    web_port: int = field(
        default=8400, metadata=_setting(values.port, "port of the web console; 0: any that is free")
    )
    web_url: str = field(
        default="",
        metadata=_setting(
            values.web_url, "the web console's address for browsers, where a proxy speaks TLS: https://…"
        ),
    )
    web_proxies: str = field(
        default="",
        metadata=_setting(
            values.web_proxies,
            "addresses or networks of the proxies before WEB_URL, whose X-Forwarded-For is believed, "
            "separated by commas; empty: this machine's own",
        ),
    )
    tile_url: str = field(
        default="",
        metadata=_setting(
            values.tile_url,
            "map tiles, as https://…/{z}/{x}/{y}.png; empty: the coarse map that needs no network",
        ),
    )
    tile_attribution: str = field(
        default="", metadata=_setting(str, "whom the map names as the source of its tiles")
    )
    label_rate: int = field(
        default=600,
        metadata=_setting(
            values.count,
            "photographs a minute that are taken in of one label, ten minutes' worth at once; what is more "
            "waits in the inbox; 0: no limit",
        ),
    )
    cameras: str = field(
        default="",
        metadata=_setting(
            values.cameras,
            "labels of cameras and the minutes after which their silence is an alarm, as "
            "north-bridge=30, plaza=10",
        ),
    )
    webhooks: str = field(
        default="",
        metadata=_setting(str, "file that says where `almenara webhooks` sends dispatches; empty: nowhere"),
    )
    cap_sender: str = field(
        default="",
        metadata=_setting(
            values.cap_sender, "sender of CAP messages; empty: the host of WEB_URL, or almenara"
        ),
    )
    cap_status: str = field(
        default="actual",
        metadata=_setting(values.one_of("actual", "exercise", "test"), "status of CAP messages"),
    )
    metrics_host: str = field(
        default="127.0.0.1",
        metadata=_setting(str, "address that a service's /metrics, /livez and /readyz listen on"),
    )
    metrics_port: int = field(
        default=0,
        metadata=_setting(
            values.port,
            "their port; 0: none. `almenara up` gives it to the ingester and the next ones to the others",
        ),
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Settings from environment variables; variables that are unset or empty keep their defaults.

        Raises:
            ConfigError: naming every variable that is wrong, all at once.
        """
        known = {PREFIX + each.name.upper(): each for each in fields(cls)}
        from_files = {name + FILE: each for name, each in known.items() if each.metadata["secret"]}
        chosen: dict[str, Any] = {}
        faults = []
        for variable, each in known.items():
            try:
                text = _text_of(variable, environ, secret=each.metadata["secret"])
            except ValueError as error:
                faults.append(str(error))
                continue
            if not text:
                continue
            try:
                chosen[each.name] = each.metadata["parse"](text)
            except ValueError as error:
                shown = "(hidden)" if each.metadata["secret"] else repr(text)
                faults.append(f"{variable}={shown}: {error}")
        for variable in sorted(environ):
            if (
                variable.startswith(PREFIX)
                and variable not in known | from_files
                and variable != PREFIX + "PHOTOS"
            ):
                faults.append(f"{variable}: there is no such setting")
        if not faults:
            settings = cls(**chosen)
            faults = settings.faults()
        if faults:
            raise ConfigError(
                "settings are wrong: " + "; ".join(faults),
                remedy="see deploy/.env.example for all of them",
            )
        return settings

    def faults(self) -> list[str]:
        """What is wrong between settings; empty when they agree."""
        faults = []
        if not self.inbox:
            faults.append(f"{PREFIX}INBOX: names no folder")
        state = self.state_dir.resolve()
        for inbox in self.inbox:
            if inbox.resolve() == state or (self.recursive and state.is_relative_to(inbox.resolve())):
                faults.append(f"{PREFIX}STATE_DIR: {self.state_dir} lies in the inbox {inbox}")
            for part in ("images", "rejected", "broker", "logs", "run"):
                if inbox.resolve().is_relative_to(state / part):
                    faults.append(
                        f"{PREFIX}INBOX: {inbox} lies in {self.state_dir / part}, which is Almenara's own"
                    )
        if self.image_store.startswith("memory:"):
            faults.append(f"{PREFIX}IMAGE_STORE: memory: is one process's own, and workers are others")
        if self.lease_s < 2:
            faults.append(f"{PREFIX}LEASE_S={self.lease_s}: under 2 s a busy worker would lose its own jobs")
        if self.fallback_after_s < self.acknowledge_within_s:
            faults.append(
                f"{PREFIX}FALLBACK_AFTER_S={self.fallback_after_s:g} is less than "
                f"{PREFIX}ACKNOWLEDGE_WITHIN_S={self.acknowledge_within_s:g}"
            )
        return faults

    def override(self, **values: Any) -> Self:
        """The same settings with those flags of a command line that were given (not None)."""
        settings = replace(self, **{name: value for name, value in values.items() if value is not None})
        if faults := settings.faults():
            raise ConfigError("settings are wrong: " + "; ".join(faults))
        return settings

    @property
    def broker_socket(self) -> Path:
        """Where the private broker listens: in the state folder, or elsewhere if that path is too long."""
        path = self.state_dir.resolve() / "run" / "broker.sock"
        if len(os.fsencode(path)) < UNIX_PATH_LIMIT_BYTES:
            return path
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"almenara-{os.getuid()}-{digest}" / "broker.sock"

    def to_env(self) -> dict[str, str]:
        """Environment variables that give the same settings in a child process, paths made absolute."""
        environ = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, tuple):
                value = os.pathsep.join(str(part.resolve()) for part in value)
            elif isinstance(value, Path):
                value = value.resolve()
            elif each.name in ("image_store", "users_file", "webhooks") and value and "://" not in value:
                value = Path(value).resolve()
            environ[PREFIX + each.name.upper()] = "auto" if value is None else str(value)
        return environ

    @property
    def image_store_url(self) -> str:
        """Folder or fsspec URL of the image store."""
        return self.image_store or str(self.state_dir / "images")

    @property
    def database(self) -> str:
        """SQLAlchemy's URL of the desk's record."""
        return self.database_url or f"sqlite:///{self.state_dir.resolve() / 'desk.db'}"

    @property
    def users_path(self) -> Path:
        """Who may log in to the web console."""
        return Path(self.users_file) if self.users_file else self.state_dir / "users.json"

    @property
    def silence_s(self) -> dict[str, float]:
        """Cameras that must not be silent: label -> seconds after which it is an alarm."""
        return {label: minutes * 60 for label, minutes in values.minutes_of(self.cameras).items()}

    @property
    def rejected_dir(self) -> Path:
        """Where what can't be taken in is kept, with its reason."""
        return self.state_dir / "rejected"

    def described(self) -> list[tuple[str, str, str]]:
        """(variable, value, meaning) of every setting, secrets hidden."""
        rows = []
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, tuple):
                value = os.pathsep.join(str(part) for part in value)
            shown = "(set)" if each.metadata["secret"] and value else "auto" if value is None else str(value)
            rows.append((PREFIX + each.name.upper(), shown, str(each.metadata["about"])))
        return rows
