"""What a broker refuses on purpose: password, permission, certificate. Waiting cures none of it."""

import ssl
from collections.abc import Iterator

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from shared.errors import ConfigError


class BrokerRefusesError(ConfigError, RedisError):
    """Raised when the broker answers, and does not let us in, or not do this. Also an error of Redis's."""

    default_reason = "broker_refuses"


_TLS_REMEDIES = {
    "WRONG_VERSION_NUMBER": "it speaks no TLS at that port: use its TLS port, or redis:// instead of rediss://",
    "RECORD_LAYER_FAILURE": "it speaks no TLS at that port: use its TLS port, or redis:// instead of rediss://",
    "TLSV1_ALERT_PROTOCOL_VERSION": "let the broker speak TLS 1.2 or later",
    "UNSUPPORTED_PROTOCOL": "let the broker speak TLS 1.2 or later",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for our certificate: add ssl_certfile and ssl_keyfile",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it asks for our certificate: add ssl_certfile and ssl_keyfile",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not take our certificate: see ssl_certfile",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired: renew what ssl_certfile names",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know who signed our certificate: see ssl_certfile",
}
"""OpenSSL's names of what stays wrong until a person puts it right. Others, such as a cut line, pass."""


def refusal(error: BaseException) -> BrokerRefusesError | None:
    """The same fault in our words with what to do; None where it is no refusal."""
    if isinstance(error, BrokerRefusesError):
        return error
    if isinstance(error, AuthenticationError):
        return BrokerRefusesError(
            f"the broker does not let us in ({_words(error)})",
            remedy="check user and password in ALMENARA_REDIS_URL (`almenara acl` makes them), and that the "
            "broker has loaded its ACL file",
        )
    if isinstance(error, NoPermissionError):
        return BrokerRefusesError(
            f"the broker does not let this user do it ({_words(error)})",
            remedy="check that this service has its own role's user and password, and that the broker has "
            "loaded the ACL file of this version (`almenara acl --check`)",
        )
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return BrokerRefusesError(
                f"the broker's certificate is refused ({each.verify_message})", remedy=_remedy_of(each)
            )
        reason = getattr(each, "reason", None) if isinstance(each, ssl.SSLError) else None
        if reason in _TLS_REMEDIES:
            return BrokerRefusesError(
                f"TLS with the broker fails ({reason.lower().replace('_', ' ')})",
                remedy=_TLS_REMEDIES[reason],
            )
    return None


def _remedy_of(error: ssl.SSLCertVerificationError) -> str:
    # X509_V_ERR_CERT_HAS_EXPIRED, _NOT_YET_VALID, HOSTNAME_MISMATCH and IP_ADDRESS_MISMATCH of OpenSSL.
    if error.verify_code in (9, 10):
        return "renew it, and check both machines' clocks"
    if error.verify_code in (62, 64):
        return "use a name in ALMENARA_REDIS_URL that the certificate has among its alternative names"
    return "add ?ssl_ca_certs=FILE to ALMENARA_REDIS_URL, with the certificate of who signed it"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came of: redis-py wraps what TLS says in errors of its own."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _words(error: Exception) -> str:
    return str(error).rstrip(". ") or type(error).__name__
