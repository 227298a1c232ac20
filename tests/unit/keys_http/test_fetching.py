"""Lists are fetched from strangers' addresses: nothing of our own network may be reached (section 13 no. 5)."""

import asyncio
import contextlib
import socket

import pytest

from civium.kernel.errors import Unavailable
from civium.keys import fetching
from civium.keys.fetching import PublicListSource


@pytest.fixture
async def server():
    """A real server on this machine that answers what its test says, and counts."""
    state = {"answer": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlist", "asked": []}

    async def serve(reader, writer):
        state["asked"].append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(state["answer"])
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    state["port"] = running.sockets[0].getsockname()[1]
    yield state
    running.close()
    await running.wait_closed()


def resolving(monkeypatch, *addresses):
    async def getaddrinfo(self, host, port, **_):
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 0, "", (each, port))
            for each in addresses
        ]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", getaddrinfo, raising=False)


async def test_a_configured_host_inside_is_reached(server):
    source = PublicListSource({"localhost"})
    assert await source.fetch(f"http://localhost:{server['port']}/ca.crl?a=b") == b"list"
    head = server["asked"][0]
    assert head.startswith(b"GET /ca.crl?a=b HTTP/1.1\r\n")
    assert f"host: localhost:{server['port']}".encode() in head.lower()
    assert b"authorization" not in head.lower()
    assert b"cookie" not in head.lower()


@pytest.mark.parametrize(
    "url",
    [
        "", "/ca.crl", "ftp://lists.example/", "file:///etc/passwd", "ldap://lists.example/", "http://", "http:///x",
        "http://user:secret@lists.example/", "http://lists.example:8080/", "http://lists.example:22/",
        "http://lists.example:99999/", "http://127.0.0.1/", "http://[::1]/", "http://localhost/", "http://0/",
        "http://2130706433/", "http://169.254.169.254/latest/", "http://10.0.0.1/", "http://[::ffff:10.0.0.1]/",
        "http://" + "a" * 3000 + "/", "http://lists .example/", "http://lists.example\r\nx: y/",
    ],
)  # fmt: skip
async def test_addresses_that_are_refused(url):
    with pytest.raises(Unavailable):
        await PublicListSource().fetch(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::a00:1", "2002:a00:1::1", "2001:0:a00:1::1", "ff02::1",
    ],
)  # fmt: skip
async def test_names_that_stand_for_our_network_are_refused(address, monkeypatch):
    """One public address beside it changes nothing."""
    resolving(monkeypatch, "93.184.216.34", address)
    with pytest.raises(Unavailable) as caught:
        await PublicListSource().fetch("http://lists.example/ca.crl")
    assert "not public" in str(caught.value.__cause__)


async def test_the_connection_goes_to_the_address_that_was_checked(server, monkeypatch):
    """Old trick: the name stands for a public address when it is checked, and for ours when it is connected to."""
    asked = []

    async def checked(host, port, *, private):
        asked.append(host)
        return "127.0.0.1"

    monkeypatch.setattr(fetching, "_address", checked)
    monkeypatch.setitem(fetching.PORTS, "http", server["port"])
    assert await PublicListSource().fetch("http://lists.example/ca.crl") == b"list"
    assert asked == ["lists.example"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/secret\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nlist",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nlist",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2 * 1024 * 1024 + 1),
    ],
)
async def test_answers_that_are_refused(server, answer):
    server["answer"] = answer
    with pytest.raises(Unavailable):
        await PublicListSource({"localhost"}).fetch(f"http://localhost:{server['port']}/")
    assert len(server["asked"]) == 1


async def test_a_server_that_never_ends_is_left(server, monkeypatch):
    monkeypatch.setattr(fetching, "SECONDS", 0.3)
    server["answer"] = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
    with pytest.raises(Unavailable):
        await PublicListSource({"localhost"}).fetch(f"http://localhost:{server['port']}/")
