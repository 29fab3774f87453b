"""Certificates made on the spot, and brokers behind TLS: a server's own, or a terminating proxy's."""

import contextlib
import datetime
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates. `ca` is the file that a client trusts it by."""

    def __init__(self, folder: Path, name: str = "city") -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(f"{name} authority")
        cert = (
            _dated(x509.CertificateBuilder(), days=10)
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._subject = subject
        self.ca = folder / f"{name}-ca.pem"
        self.ca.write_bytes(cert.public_bytes(serialization.Encoding.PEM))

    def certificate(self, host: str = "localhost", *, days: int = 5) -> tuple[Path, Path]:
        """Certificate and key of a server; with days below zero it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        if host == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        cert = (
            _dated(x509.CertificateBuilder(), days=days)
            .subject_name(_named(host))
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = self._folder / f"{self._name}-{host}-{days}"
        files = stem.with_suffix(".crt"), stem.with_suffix(".key")
        files[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    no = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
        **no,
    )


def _dated(builder: x509.CertificateBuilder, *, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    begin, end = sorted((now - datetime.timedelta(days=20), now + datetime.timedelta(days=days)))
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)


def server_with_tls() -> str | None:
    """A Redis or Valkey on the PATH that was built with TLS."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is None:
            continue
        # Started without certificates, one that knows TLS complains of them; any other knows no such option.
        command = [found, "--port", "0", "--tls-port", "1", "--daemonize", "no"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if "Failed to configure TLS" in said.stdout + said.stderr:
            return found
    return None


@contextmanager
def terminating(backend: Path, cert: tuple[Path, Path], *, client_ca: Path | None = None) -> Iterator[int]:
    """A proxy that speaks TLS before a broker on a Unix socket; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*cert)
    if client_ca is not None:
        # TLS 1.3 tells of a missing certificate after the greeting, which may be too late to be heard.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_serve, args=(listening, context, backend), daemon=True).start()
        yield listening.getsockname()[1]


def _serve(listening: socket.socket, context: ssl.SSLContext, backend: Path) -> None:
    with contextlib.suppress(OSError):  # closed: the end
        while True:
            accepted, _ = listening.accept()
            threading.Thread(target=_carry, args=(accepted, context, backend), daemon=True).start()


def _carry(accepted: socket.socket, context: ssl.SSLContext, backend: Path) -> None:
    with (
        contextlib.suppress(OSError),
        accepted,
        context.wrap_socket(accepted, server_side=True) as near,
        socket.socket(socket.AF_UNIX) as far,
    ):
        far.connect(str(backend))
        back = threading.Thread(target=_pump, args=(far, near), daemon=True)
        back.start()
        _pump(near, far)
        back.join(timeout=10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
