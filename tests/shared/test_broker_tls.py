import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import wait_until
from ports import ReservedPort
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from tls_parts import Authority, server_with_tls, terminating

from shared.broker import check, connect, is_broker_fault, patiently
from shared.errors import ConfigError
from shared.refusals import BrokerRefusesError, refusal
from shared.settings import Settings


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the tests' clients trust."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def port(authority: Authority, broker_settings: Settings) -> Iterator[int]:
    """A sound broker behind TLS, by a terminating proxy."""
    with terminating(broker_settings.broker_socket, authority.certificate()) as found:
        yield found


def to(port: int, ca: Path | None, host: str = "localhost", more: str = "") -> Settings:
    """Settings with such an address."""
    trusted = f"ssl_ca_certs={ca}" if ca else ""
    return Settings(redis_url=f"rediss://{host}:{port}/0?{trusted}{more}")


def refused(settings: Settings) -> BrokerRefusesError:
    """How a service that waits patiently is refused: at once."""
    with connect(settings) as client, pytest.raises(BrokerRefusesError) as caught:
        patiently(client.ping, sleep=lambda _: pytest.fail("it waited for a certificate to mend itself"))
    return caught.value


def test_a_broker_behind_tls_works_by_its_url_alone(port: int, authority: Authority) -> None:
    """The name, or the address, that the certificate has; the signer by a file in the URL."""
    for host in ("localhost", "127.0.0.1"):
        settings = to(port, authority.ca, host)
        with connect(settings) as client:
            assert check(client, settings)["redis_version"]
            assert client.set("tls", "works")
            client.delete("tls")


def test_a_broker_with_tls_of_its_own_works(tmp_path: Path, authority: Authority) -> None:
    """Redis or Valkey, where there is one that was built with TLS; an expired certificate is refused."""
    server = server_with_tls()
    if server is None:
        pytest.skip("no redis-server or valkey-server with TLS on the PATH (Debian: redis-server)")
    for days, works in ((5, True), (-5, False)):
        cert, key = authority.certificate(days=days)
        port = ReservedPort()
        options = {
            "port": "0", "bind": "127.0.0.1", "tls-port": str(port.number),
            "tls-cert-file": str(cert), "tls-key-file": str(key),
            "tls-ca-cert-file": str(authority.ca), "tls-auth-clients": "no", "save": "", "dir": str(tmp_path),
        }  # fmt: skip
        command = [server, *(part for name, value in options.items() for part in (f"--{name}", value))]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            settings = to(port.number, authority.ca)
            wait_until(partial(listens, port.number), within_s=60, what="the server listens")
            if works:
                with connect(settings) as client:
                    assert client.ping()
            else:
                assert "expired" in refused(settings).detail
        finally:
            process.kill()
            process.wait(timeout=60)
            port.release()


def listens(port: int) -> bool:
    """Whether somebody does."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_a_certificate_of_a_stranger_is_refused(port: int, tmp_path: Path) -> None:
    """Signed by nobody we trust: said with the remedy, and not waited for."""
    for settings in (to(port, Authority(tmp_path, "other").ca), to(port, None)):
        error = refused(settings)
        assert isinstance(error, ConfigError)
        assert "certificate" in error.detail
        assert "ssl_ca_certs" in error.remedy


def test_an_expired_certificate_is_refused(authority: Authority, broker_settings: Settings) -> None:
    """Whoever signed it; it is renewed by a person."""
    with terminating(broker_settings.broker_socket, authority.certificate(days=-5)) as port:
        error = refused(to(port, authority.ca))
    assert "expired" in error.detail
    assert "renew" in error.remedy


def test_a_certificate_of_another_host_is_refused(authority: Authority, broker_settings: Settings) -> None:
    """A sound certificate of another name says nothing of this broker."""
    cert = authority.certificate("other.example.org")
    with terminating(broker_settings.broker_socket, cert) as port:
        for host in ("localhost", "127.0.0.1"):
            assert "alternative names" in refused(to(port, authority.ca, host)).remedy


def test_a_broker_that_asks_for_our_certificate_is_understood(
    authority: Authority, broker_settings: Settings
) -> None:
    """Without one it refuses, and the remedy names the settings; with one it lets us in."""
    cert = authority.certificate()
    with terminating(broker_settings.broker_socket, cert, client_ca=authority.ca) as port:
        assert "ssl_certfile" in refused(to(port, authority.ca)).remedy
        ours = f"&ssl_certfile={cert[0]}&ssl_keyfile={cert[1]}"
        with connect(to(port, authority.ca, more=ours)) as client:
            assert client.ping()


def test_tls_with_a_broker_that_speaks_none_is_refused(authority: Authority) -> None:
    """Whoever answers in plain text will do so the next time as well."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer_plainly, args=(listening,), daemon=True).start()
        error = refused(to(listening.getsockname()[1], authority.ca))
    assert "TLS" in error.detail
    assert "redis://" in error.remedy


def answer_plainly(listening: socket.socket) -> None:
    """As a Redis server does to a greeting that it does not understand."""
    while True:
        try:
            accepted, _ = listening.accept()
        except OSError:
            return
        with contextlib.suppress(OSError), accepted:
            accepted.recv(4096)
            accepted.sendall(b"-ERR Protocol error: expected '$', got ' '\r\n")
            while accepted.recv(4096):  # to close with something unread would be to cut the line
                pass


def test_a_line_that_is_cut_while_it_is_made_passes(authority: Authority) -> None:
    """A broker that goes away in the middle of the greeting comes back."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=cut, args=(listening,), daemon=True).start()
        client = connect(to(listening.getsockname()[1], authority.ca))
        with client, pytest.raises(RedisConnectionError) as caught:
            client.ping()
    assert is_broker_fault(caught.value)


def cut(listening: socket.socket) -> None:
    """Hang up on everybody."""
    while True:
        try:
            listening.accept()[0].close()
        except OSError:
            return


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_is_missing_is_said_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    """redis-py would report a broker that is away, and a service would wait for ever."""
    with pytest.raises(ConfigError, match=name) as caught:
        connect(Settings(redis_url=f"rediss://:hunter2@localhost:1/0?{name}={tmp_path / 'none.pem'}"))
    assert "hunter2" not in str(caught.value)
    assert "PEM" in caught.value.remedy


def test_a_ca_file_that_is_none_is_said(tmp_path: Path) -> None:
    """It is read before it is needed."""
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="ssl_ca_certs"):
        connect(Settings(redis_url=f"rediss://localhost:1/0?ssl_ca_certs={tmp_path / 'ca.pem'}"))


def test_other_errors_are_no_refusals() -> None:
    """Of TLS only what stays wrong is one; and an error that is its own context ends the search."""
    looped = RedisError("away")
    looped.__context__ = other = ssl.SSLError(1, "[SSL: BAD_RECORD] bad")
    other.__context__ = looped
    assert refusal(looped) is None
