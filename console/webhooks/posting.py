"""One try: a signed POST to a checked address, with an end in time, following nothing and reading little."""

import asyncio
import ssl
from collections.abc import Mapping

import httpx

from console.webhooks.addresses import AddressRefusedError, addresses
from console.webhooks.fates import Answer, asked_s
from console.webhooks.hooks import Webhook
from shared.errors import ConfigError
from shared.incidents import utc_now

TRY_S = 15.0
"""From looking up the name to the answer's head, however slowly it comes."""
_CONNECT_S = 5.0
_READ_BYTES = 4096
"""Of an answer's body, so that its connection can be used again. What it says is nobody's business here."""
CONNECTIONS = 8


class Poster:
    """Posts to one webhook. Lives in one event loop."""

    def __init__(self, webhook: Webhook) -> None:
        """Nothing is connected yet.

        Raises:
            ConfigError: the file of authorities can't be used.
        """
        self._webhook = webhook
        self._url = httpx.URL(webhook.url)
        # As they go over the wire, whatever letters a name is written with.
        self._host, self._netloc = self._url.raw_host.decode(), self._url.netloc.decode()
        self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        self._client = httpx.AsyncClient(
            verify=_authorities(webhook),
            trust_env=False,  # no proxy that the environment names
            follow_redirects=False,
            http2=False,
            timeout=httpx.Timeout(TRY_S, connect=_CONNECT_S),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=2),
            headers={"User-Agent": "almenara-webhooks", "Accept": "*/*"},
        )

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post once; how that ended. Never raises for what the receiver or the network does."""
        try:
            async with asyncio.timeout(TRY_S):
                return await self._post(body, headers)
        except AddressRefusedError:
            return Answer(reason="address_refused")
        except (TimeoutError, httpx.TimeoutException):
            return Answer(reason="timeout")
        except httpx.ConnectError as error:
            return Answer(reason="tls" if "CERTIFICATE" in str(error).upper() else "connection")
        except (OSError, httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, ValueError):
            return Answer(reason="connection")

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        found = await addresses(self._host, self._port, allow_link_local=self._webhook.allow_link_local)
        for text in found[:-1]:
            try:
                return await self._post_to(text, body, headers)
            except httpx.ConnectError:
                continue  # a host of several addresses may not answer at each
        return await self._post_to(found[-1], body, headers)

    async def _post_to(self, address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        # To the address that was checked; the certificate must still be that of the name.
        request = self._client.build_request(
            "POST",
            self._url.copy_with(host=address.partition("%")[0], port=self._port),
            content=body,
            headers={**headers, "Host": self._netloc},
            extensions={"sni_hostname": self._host},
        )
        response = await self._client.send(request, stream=True)
        try:
            answer = Answer(
                status=response.status_code,
                retry_after_s=asked_s(response.headers.get("Retry-After", ""), utc_now()),
            )
            await _pass_over(response)
        finally:
            await response.aclose()
        return answer


async def _pass_over(response: httpx.Response) -> None:
    """Read what is little. Its head is the answer: a body that breaks off changes nothing."""
    read = 0
    try:
        async with asyncio.timeout(1.0):
            async for chunk in response.aiter_raw(_READ_BYTES):
                read += len(chunk)
                if read > _READ_BYTES:
                    return
    except (TimeoutError, httpx.HTTPError):
        return


def _authorities(webhook: Webhook) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if webhook.ca_file is not None:
        try:
            context.load_verify_locations(cafile=webhook.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"webhook {webhook.name!r}: ca_file {webhook.ca_file} can't be used: {error.strerror}",
                remedy="name a file of certificates in PEM",
            ) from error
    return context
