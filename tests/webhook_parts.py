"""What tests of webhooks share: a receiver that listens, and misbehaves as it is told; a service.

``python tests/webhook_parts.py URL SECRET BROKER [DATABASE]`` is a service as a process of its own, to be
killed; with the desk's record it sends the police department CAP.
"""

import contextlib
import datetime
import ipaddress
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook as Verifier

from console.cap import CapSource
from console.records import open_database
from console.webhooks.bodies import Bodies
from console.webhooks.hooks import Form, Webhook
from console.webhooks.service import WebhookService
from shared.broker import Broker, connect
from shared.keys import dispatch_key, webhook_group
from shared.routing import Routing
from shared.settings import Settings

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY="
OTHER_SECRET = "whsec_" + "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="


@dataclass(frozen=True)
class Got:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def message_id(self) -> str:
        """The same for every try."""
        return self.headers["webhook-id"]

    def verify(self, secret: str = SECRET) -> Any:
        """The body of JSON, if its signature is right."""
        return Verifier(secret).verify(self.body, self.headers)

    def is_signed(self, secret: str = SECRET) -> bool:
        """Whether its signature is right, whatever its body is."""
        at = datetime.datetime.fromtimestamp(int(self.headers["webhook-timestamp"]), datetime.UTC)
        right = Verifier(secret).sign(self.message_id, at, self.body)
        return right in self.headers["webhook-signature"].split()


class Receiver:
    """A server on a port of its own. `answers` says what it does with each request, by its how manyth it is.

    An answer is a status, (status, headers), ``hang`` or ``break``; the last one counts from then on.
    """

    def __init__(self, answers: Sequence[Any] = (200,), *, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.got: list[Got] = []
        self._lock = threading.Lock()
        self._leave = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:  # whoever sent it was killed: that is no request
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver._answer(self, Got(self.path, headers, body.decode()))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass  # who leaves in the middle is no news here

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            # In each connection's own thread: a client that breaks off must not end the server.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def ids(self) -> list[str]:
        """Of everything that came."""
        return [each.message_id for each in list(self.got)]

    def close(self) -> None:
        """Leave, with whoever hangs."""
        self._leave.set()
        self._server.shutdown()
        self._thread.join(timeout=20)
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, got: Got) -> None:
        with self._lock:
            answer = self.answers[min(len(self.got), len(self.answers) - 1)]
            self.got.append(got)
        if answer == "hang":
            self._leave.wait(60)
            handler.close_connection = True
            return
        if answer == "break":
            handler.close_connection = True
            handler.wfile.write(b"HTTP/1.1 2")
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")


def webhook(receiver: Receiver | str, folder: Path, name: str = "cad", **more: Any) -> Webhook:
    """A webhook of the firefighters to a receiver, with a secret file of its own."""
    secret = folder / f"{name}.secret"
    if not secret.exists():
        write_secret(secret, SECRET)
    url = receiver if isinstance(receiver, str) else receiver.url
    about = {"departments": ("firefighters",), "from_beginning": True, **more}
    return Webhook(name=name, url=url, secret_file=secret, **about)


def write_secret(path: Path, *secrets: str) -> None:
    """A secret file as it should be."""
    path.write_text("".join(f"{secret}\n" for secret in secrets))
    path.chmod(0o600)


@contextmanager
def delivering(
    broker: Broker, *webhooks: Webhook, engine: Any = None, abandoned_s: float = 60.0
) -> Iterator[WebhookService]:
    """A service that runs in threads until the end of the block, and hurries."""
    stop = threading.Event()
    bodies = Bodies(Routing.load(Settings().routing), CapSource(sender="desk.example.org"), engine)
    service = WebhookService(
        broker, webhooks, bodies, record=engine, first_wait_s=0.05, look_every_s=0.5, abandoned_s=abandoned_s
    )
    thread = threading.Thread(target=service.run, args=(stop.is_set,))
    thread.start()
    try:
        yield service
    finally:
        stop.set()
        thread.join(timeout=40)
        assert not thread.is_alive(), "the service did not stop"


def send(broker: Broker, entries: Sequence[tuple[str, str]]) -> list[str]:
    """Dispatches as a worker adds them; the ids of the firefighters'."""
    for department, event in entries:
        broker.xadd(dispatch_key(department), {"event": event})
    return [json.loads(event)["id"] for department, event in entries if department == "firefighters"]


def pending(broker: Broker, name: str = "cad") -> int:
    """How many dispatches of the firefighters a webhook has read and not delivered."""
    found: Any = broker.xpending(dispatch_key("firefighters"), webhook_group(name))
    return int(found["pending"])


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS of 127.0.0.1 with a certificate by nobody's authority, and that certificate's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "receiver.pem", folder / "receiver.key"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, secret)
    return context, chain


def main(arguments: Sequence[str]) -> None:
    """A service as a process, until it is killed."""
    url, secret, broker_url, *database = arguments
    broker = connect(Settings(redis_url=broker_url))
    never: Callable[[], bool] = lambda: False  # noqa: E731
    record = open_database(database[0], read_only=True) if database else None
    more: dict[str, Any] = {"form": Form.CAP, "departments": ("police-department",)} if database else {}
    hook = webhook(url, Path(secret).parent, **more)
    bodies = Bodies(Routing.load(Settings().routing), CapSource(sender="x"), record)
    service = WebhookService(
        broker, [hook], bodies, record=record, first_wait_s=0.05, look_every_s=0.3, abandoned_s=1.5
    )
    with contextlib.suppress(KeyboardInterrupt):
        service.run(never)


if __name__ == "__main__":
    main(sys.argv[1:])
