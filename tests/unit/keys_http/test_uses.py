"""Every use of a key is in the audit trail within a second, and nothing else is (section 13 no. 4)."""

import asyncio
import time

import msgspec
import pytest

from civium.audit.api import AuditRecorded
from civium.kernel.clock import SystemClock
from civium.kernel.errors import Unavailable
from civium.keys.api import KeyProblem, KeyRef
from civium.keys.http import uses as uses_module
from civium.keys.http.uses import UseLog
from civium.platform.outbox import PURPOSE, place_of

from .conftest import CALLERS, b64u
from .test_encryption import data


async def recorded(db, sealer):
    """Return the audit events of key use that wait for delivery."""
    events = []
    for row in await db.outbox_rows():
        clear = await sealer.unseal(PURPOSE, place_of(row["id"], row["topic"]), row["payload"])
        events.append(msgspec.json.decode(clear, type=AuditRecorded))
    return [event for event in events if event.action.startswith("keys.used.")]


async def waited(db, sealer, number, seconds=3.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = await recorded(db, sealer)
        if len(found) >= number:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{len(found)} of {number} uses were written")


async def test_uses_are_written_together_within_a_second(api, db, sealer_core):
    await api.ok("POST", "/jwtSign", {"dataToSign": b64u(b"{}")})
    for _ in range(4):
        await api.ok("POST", "/encrypt", data(b64u(b"personal secret")))
    await api.code("POST", "/decrypt", data("AAAA", app="RESIDENT", ref="2419762130"))
    began = time.monotonic()
    found = await waited(db, sealer_core, 3)
    assert time.monotonic() - began < 1.5
    told = {(each.action, each.actor, each.purpose, each.outcome, each.code) for each in found}
    actor = "service-account-mosip-idrepo-client"
    assert told == {
        ("keys.used.jwtSign", actor, "KERNEL:SIGN, 1 times", "success", None),
        ("keys.used.encrypt", actor, "ID_REPO:uin, 4 times", "success", None),
        ("keys.used.decrypt", actor, "RESIDENT, 1 times", "refused", "KER-CRY-012"),
    }
    assert "2419762130" not in repr(found)


async def test_each_use_of_a_private_key_is_told(api, db, sealer_core):
    sealed = (await api.ok("POST", "/encrypt", data("AA")))["data"]
    await api.ok("POST", "/decrypt", data(sealed))
    await api.ok("POST", "/sign", {"data": "x"})
    await api.ok("POST", "/signV2", {"dataToSign": "AAAA"})
    await api.ok("POST", "/zkEncrypt", {"id": "1", "zkDataAttributes": [{"identifier": "a", "value": "b"}]})
    await api.ok("GET", "/tokenid/1/2")
    pin = (await api.ok("POST", "/encryptWithPin", {"data": "x", "userPin": "123456"}))["data"]
    await api.ok("POST", "/decryptWithPin", {"data": pin, "userPin": "123456"})
    actions = {each.action.rpartition(".")[2] for each in await waited(db, sealer_core, 8)}
    assert actions == {
        "encrypt", "decrypt", "sign", "signV2", "zkEncrypt", "tokenid", "encryptWithPin", "decryptWithPin",
    }  # fmt: skip


async def test_the_end_writes_what_waits(db, outbox_core, sealer_core):
    log = UseLog(db.core("keys"), outbox_core, SystemClock())
    with log.using(CALLERS["idrepo"], "sign", KeyRef("KERNEL", "SIGN")):
        pass
    with pytest.raises(KeyProblem), log.using(CALLERS["idrepo"], "sign", KeyRef("lower case")):
        raise KeyProblem("KER-X", "x")
    await log.close()
    assert sorted(each.purpose for each in await recorded(db, sealer_core)) == [
        "KERNEL:SIGN, 1 times", "unknown, 1 times",
    ]  # fmt: skip


async def test_no_key_is_used_unseen(db, outbox_core, sealer_core, monkeypatch):
    """While the trail takes nothing, uses go on for a short time, then end; nothing that was counted is lost."""
    monkeypatch.setattr(uses_module, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(uses_module, "MAX_BLIND_SECONDS", 0.1)
    await db.as_owner("ALTER TABLE outbox_core.outbox RENAME TO away")
    log = UseLog(db.core("keys"), outbox_core, SystemClock())
    ref = KeyRef("KERNEL", "SIGN")
    with log.using(CALLERS["idrepo"], "sign", ref):
        pass
    await asyncio.sleep(0.4)
    with pytest.raises(Unavailable), log.using(CALLERS["idrepo"], "sign", ref):
        raise AssertionError("used unseen")
    await db.as_owner("ALTER TABLE outbox_core.away RENAME TO outbox")
    (event,) = await waited(db, sealer_core, 1)
    assert event.purpose == "KERNEL:SIGN, 1 times"
    await asyncio.sleep(0.05)
    with log.using(CALLERS["idrepo"], "sign", ref):
        pass
    await log.close()


async def test_nothing_clear_is_logged(api, capsys):
    secret = "planted-5e6b1f0c"
    sealed = (await api.ok("POST", "/encrypt", data(b64u(secret.encode()))))["data"]
    await api.ok("POST", "/decrypt", data(sealed))
    pin = (await api.ok("POST", "/encryptWithPin", {"data": secret, "userPin": secret}))["data"]
    await api.code("POST", "/decryptWithPin", {"data": pin, "userPin": "wrong-" + secret})
    await api.code("POST", "/decrypt", data(secret, ref=secret))
    await api.ok("POST", "/generateArgon2Hash", {"inputData": secret})
    await api.ok("POST", "/jwtSign", {"dataToSign": b64u(secret.encode())})
    await api.code("POST", "/jwtVerify", {"jwtSignatureData": secret})
    await api.refused("POST", "/encrypt", {"applicationId": secret})
    out = capsys.readouterr()
    assert "keymanager" in out.out + out.err
    for form in (secret, b64u(secret.encode()), secret.encode().hex()):
        assert form not in out.out + out.err
