"""Fetches revocation lists from addresses that strangers chose, without letting them reach our own network.

A host is resolved once, every one of its addresses must be public, and the connection goes to the address that was
checked. No redirects, no proxies, no credentials; size and time are bounded.
"""

import asyncio
import socket
from collections.abc import Collection
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

import httpx

from civium.kernel.errors import Unavailable

MAX_BYTES: Final = 2 * 1024 * 1024
SECONDS: Final = 5.0
MAX_URL: Final = 2048
PORTS: Final = {"http": 80, "https": 443}
_NAT64: Final = IPv6Network("64:ff9b::/32")


class PublicListSource:
    """Fetches over http and https. ``private_hosts`` may stand inside: a country's own authority."""

    def __init__(self, private_hosts: Collection[str] = ()) -> None:
        self._private_hosts = frozenset(private_hosts)

    async def fetch(self, url: str) -> bytes:
        """Return the body of an answer 200 of at most 2 MiB; raises Unavailable for everything else."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._fetched(url)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError) as problem:
            raise Unavailable("a revocation list cannot be fetched") from problem

    async def _fetched(self, url: str) -> bytes:
        parts = urlsplit(url)
        host, scheme = parts.hostname, parts.scheme
        if len(url) > MAX_URL or scheme not in PORTS or not host or parts.username is not None:
            raise ValueError("not an address that lists are fetched from")
        port = parts.port or PORTS[scheme]
        private = host in self._private_hosts
        if port != PORTS[scheme] and not private:
            raise ValueError("not the port of the scheme")
        address = await _address(host, port, private=private)
        literal = f"[{address}]" if ":" in address else address
        target = httpx.URL(scheme=scheme, host=literal, port=port, raw_path=(parts.path or "/").encode())
        if parts.query:
            target = target.copy_with(query=parts.query.encode())
        async with (
            httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=SECONDS) as http,
            http.stream("GET", target, headers={"host": parts.netloc}, extensions={"sni_hostname": host}) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise ValueError("no list there")
            body = bytearray()
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError("the list is too large")
            return bytes(body)


async def _address(host: str, port: int, *, private: bool) -> str:
    """Return one address of a host all of whose addresses may be reached; raises ValueError or OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not (private or all(_is_public(address) for address in addresses)):
        raise ValueError("the host is not public")
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address in _NAT64 or address.sixtofour is not None or address.teredo is not None:
            return False
        address = address.ipv4_mapped or address
    return address.is_global and not address.is_multicast
