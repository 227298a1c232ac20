import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from civium.kernel.clock import FixedClock, SystemClock
from civium.kernel.errors import Unavailable
from civium.keys import allowlist, client, process
from civium.keys.allowlist import Gate, Grant
from civium.keys.api import IDA_PARTNER, KERNEL_SIGN, KeyProblem, packet_key
from civium.keys.formats import envelope as envelopes
from civium.keys.process import socket_path
from civium.keys.protocol import Citation, KeyedHash, MakeDataKey, Sign, Unwrap
from keys_fixtures import open_home

PACKET = packet_key("10001", "10001")
WHY = Citation("test", "t-1")


async def test_it_stops_on_sigterm_and_clients_find_it_again(home, server_over):
    server = server_over(home)
    server.start()
    core, auth = server.clients()
    before = await core.keyed_hash("uin", b"1"), await auth.keyed_hash("uin", b"1")
    assert server.end(signal.SIGTERM) == 0
    server.start()
    assert (await core.keyed_hash("uin", b"1"), await auth.keyed_hash("uin", b"1")) == before
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    server.start()
    assert await core.keyed_hash("uin", b"1") == before[0]
    await core.close()
    await auth.close()


async def test_a_call_waits_for_a_process_that_is_starting(home, server_over):
    server = server_over(home)
    core, _ = server.clients()
    waiting = asyncio.create_task(core.keyed_hash("uin", b"1"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await asyncio.to_thread(server.start)
    assert len(await waiting) == 32
    await core.close()


async def test_without_a_process_calls_are_unavailable(home, monkeypatch):
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.1)
    with pytest.raises(Unavailable):
        await client.connect(socket_path(home, "core")).keyed_hash("uin", b"1")


async def test_calls_in_flight_are_repeated_after_a_kill(home, server_over):
    server = server_over(home)
    server.start()
    core, _ = server.clients()
    await core.jwt_sign(b"{}")
    calls = [asyncio.create_task(core.jwt_sign(b"{}")) for _ in range(200)]
    await asyncio.sleep(0.02)
    server.end(signal.SIGKILL)
    await asyncio.to_thread(server.start)
    assert len(set(await asyncio.gather(*calls))) == 1
    await core.close()


@pytest.mark.kill
@pytest.mark.parametrize("fault", ["keys.generated", "keystore.written"])
async def test_a_kill_while_a_key_is_made_loses_nothing(home, server_over, tmp_path, monkeypatch, fault):
    trigger = tmp_path / "strike"
    server = server_over(home, f"{fault}@{trigger}")
    server.start()
    core, _ = server.clients()
    signed = await core.jwt_sign(b"{}")
    first = await core.certificate(PACKET)
    trigger.touch()
    dying = asyncio.create_task(core.certificate(packet_key("10001", "10002")))
    assert await asyncio.to_thread(server.process.wait, 10) == -signal.SIGKILL
    await asyncio.to_thread(server.start)
    made = await dying
    assert (await core.certificate(packet_key("10001", "10002"))).pem == made.pem
    assert (await core.certificate(PACKET)).pem == first.pem
    assert await core.jwt_sign(b"{}") == signed
    await core.close()


@pytest.mark.kill
@pytest.mark.parametrize("fault", ["keys.generated", "keystore.written"])
def test_a_kill_in_the_first_start_is_made_good_by_the_next(tmp_path, server_over, fixed_clock, fault):
    home = tmp_path / "h"
    for _ in range(2):
        trigger = tmp_path / "strike"
        trigger.touch()
        server = server_over(home, f"{fault}@{trigger}")
        server.start()
        assert not server.ready
        assert server.process.wait(20) == -signal.SIGKILL
    server = server_over(home)
    server.start()
    assert server.ready
    server.end(signal.SIGTERM)
    with open_home(home, fixed_clock) as stores:
        assert stores.core.hierarchy.generations(KERNEL_SIGN)
        assert stores.auth.hierarchy.generations(IDA_PARTNER)


def test_the_sockets_and_the_process_are_closed_to_others(home, server_over):
    server = server_over(home)
    server.start()
    for context in ("core", "auth"):
        assert socket_path(home, context).stat().st_mode & 0o777 == 0o600
    limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    assert limits.split("Max core file size")[1].split()[:2] == ["0", "0"]


@pytest.mark.parametrize(
    "sent", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc", b"\x00\x00\x00\x00", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_rubbish_ends_only_its_own_connection(home, server_over, sent):
    server = server_over(home)
    server.start()
    core, _ = server.clients()
    await core.keyed_hash("uin", b"1")
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(5)
        raw.connect(str(socket_path(home, "core")))
        raw.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(10) == b""
    assert len(await core.keyed_hash("uin", b"1")) == 32
    await core.close()


def test_a_wrong_passphrase_ends_the_start_with_a_clear_error(home):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from civium.keys.process import main; from civium.platform.settings import load; main(load())",
        ],
        env={"CIVIUM_HOME": str(home), "CIVIUM_KEYS__PASSPHRASE": "not-this-one"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode != 0
    assert "root.key" in done.stderr
    assert "not-this-one" not in done.stderr + done.stdout


def test_a_rate_is_held_and_recovers():
    now = [0.0]
    gate = Gate("core", [Grant("KeyedHash", "HASH", "uin", 3)], time=lambda: now[0])
    call = KeyedHash("uin", b"1")
    for _ in range(3):
        gate.admit(call, WHY)
    with pytest.raises(Unavailable):
        gate.admit(call, WHY)
    now[0] += 0.4
    gate.admit(call, WHY)
    with pytest.raises(Unavailable):
        gate.admit(call, WHY)


def test_a_refusal_is_logged_without_arguments(capsys):
    with pytest.raises(KeyProblem):
        Gate("auth", allowlist.AUTH).admit(Unwrap("REGISTRATION", "10001_10001", b"secret bytes", None), WHY)
    shown = "".join(capsys.readouterr())
    assert "key_call_refused" in shown
    assert "Unwrap" in shown
    assert "secret" not in shown
    assert "10001" not in shown


def test_calls_do_not_show_their_content():
    for call in (KeyedHash("uin", b"2419762130"), Sign("KERNEL", "SIGN", b"payload", False, False, False)):
        assert repr(call) == f"<{type(call).__name__}>"
        assert str(call) == repr(call)


@pytest.mark.parametrize("reference", ["", "10001", "SIGN"])
def test_core_unwraps_only_packets_of_machines(reference):
    with pytest.raises(KeyProblem, match="KER-CRY-012"):
        Gate("core", allowlist.CORE).admit(Unwrap("REGISTRATION", reference, b"", None), WHY)


async def test_a_peer_of_another_user_is_cut_off(stores, tmp_path, monkeypatch):
    path = tmp_path / "s"
    with ThreadPoolExecutor(1) as threads:
        server = await process._listen(path, Gate("core", allowlist.CORE), stores.core, threads)
        keys = client.connect(path)
        assert len(await keys.keyed_hash("uin", b"1")) == 32
        await keys.close()
        uid = os.getuid()
        monkeypatch.setattr(process.os, "getuid", lambda: uid + 1)
        with pytest.raises(Unavailable):
            await keys.keyed_hash("uin", b"1")
        server.close()
        await server.wait_closed()


async def test_a_fast_caller_is_paused_and_still_answered(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "MAX_IN_FLIGHT", 4)
    path = tmp_path / "s"
    with ThreadPoolExecutor(2) as threads:
        server = await process._listen(path, Gate("core", allowlist.CORE), stores.core, threads)
        keys = client.connect(path)
        assert len(set(await asyncio.gather(*(keys.jwt_sign(b"%d" % number) for number in range(100))))) == 100
        assert await asyncio.wait_for(keys.jwt_sign(b"once more"), 5)
        await keys.close()
        server.close()
        await server.wait_closed()


async def test_a_process_over_old_keystores_renews_what_has_aged_and_opens_what_is_old(tmp_path, server_over):
    home, then = tmp_path / "h", FixedClock(SystemClock().now() - timedelta(days=1040))
    with open_home(home, then) as stores:
        old_packet = stores.core.hierarchy.current(PACKET)
        old_sign = stores.core.hierarchy.current(KERNEL_SIGN)
        data_key = stores.core.perform(MakeDataKey("p", b"c"))
    sealed = envelopes.encrypt(old_packet.certificate, b"of three years ago")
    server = server_over(home)
    server.start()
    core, _ = server.clients()
    assert (await core.certificate(PACKET)).x509 != old_packet.certificate
    assert await core.decrypt(PACKET, sealed) == b"of three years ago"
    assert (await core.certificate(KERNEL_SIGN)).key_id != old_sign.key_id
    assert old_sign.key_id in {each.key_id for each in await core.certificates(KERNEL_SIGN)}
    assert await core.unwrap_data_key("p", b"c", data_key.wrapped) == data_key.clear
    assert (await core.data_key("p", b"c")).wrapped[0] == data_key.wrapped[0] + 1
    await core.close()


async def test_an_operator_rotates_through_the_socket_of_operators_only(home, server_over):
    server = server_over(home)
    server.start()
    core, _ = server.clients()
    operator = client.connect(process.admin_socket_path(home, "core"))
    envelope = await core.encrypt(PACKET, b"before")
    first = await core.certificate(PACKET)
    for _ in range(2):
        assert (await operator.rotate(PACKET)).pem != first.pem
    assert await core.decrypt(PACKET, envelope) == b"before"
    assert await operator.rotate_secret("data-keys") == 2
    listed = {(key.application, key.reference, key.state) for key in await operator.list_keys()}
    assert ("REGISTRATION", "10001_10001", "decrypt-only") in listed
    assert [use.operation for use in await operator.total_usage() if use.operation == "Unwrap"] == ["Unwrap"]
    for refused in (core.rotate(PACKET), core.rotate_secret("data-keys"), core.list_keys(), core.total_usage()):
        with pytest.raises(KeyProblem):
            await refused
    with pytest.raises(KeyProblem):
        await operator.decrypt(PACKET, envelope)
    with pytest.raises(KeyProblem):
        await operator.jwt_sign(b"{}")
    assert process.admin_socket_path(home, "core").stat().st_mode & 0o777 == 0o600
    await core.close()
    await operator.close()
