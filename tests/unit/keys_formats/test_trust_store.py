"""The trust store on a real database, with the real PMS key."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from civium.audit.api import AuditRecorded
from civium.kernel.clock import FixedClock
from civium.keys.api import PMS, CertificateRevoked, KeyProblem, KeysAudited, UntrustedCertificate
from civium.keys.formats import certificates
from civium.keys.formats.certificates import MASTER, PARTNER, Profile
from civium.keys.wiring import build_trust

from .conftest import Holder, name, new_rsa, self_signed
from .test_trust import openssl_certificate

ORGANISATION = "Relying Party"


@pytest.fixture(scope="module")
def today():
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def ca(keys, today):
    return self_signed("partner root", keys[0], start=today - timedelta(days=1))


@pytest.fixture(scope="module")
def intermediate(ca, keys, today):
    return ca.signs(MASTER, "partner ca", keys[1], start=today - timedelta(days=1), days=2000)


@pytest.fixture(scope="module")
def leaf(intermediate, keys, today):
    return intermediate.signs(PARTNER, "rp", keys[2], start=today - timedelta(days=1))


@pytest.fixture
def later_clock(today):
    """An hour on, since the real key process dates what it signs by the real clock."""
    return FixedClock(today + timedelta(hours=1))


@pytest.fixture
def trust(db, keys_core, outbox_core, later_clock):
    return build_trust(db.core("keys"), keys_core, outbox_core, later_clock)


@pytest.fixture
async def ready(trust, ca, intermediate):
    await trust.add_ca(pem(ca), "AUTH")
    await trust.add_ca(pem(intermediate), "AUTH")
    return trust


def pem(holder):
    return certificates.pem(holder.certificate)


async def refused(code, call):
    with pytest.raises(KeyProblem) as caught:
        await call
    assert caught.value.code == code


async def test_authorities_in_order(trust, ca, intermediate, db):
    assert await trust.add_ca(pem(ca), "auth") == "Upload Success."
    assert await trust.add_ca(pem(intermediate), "AUTH") == "Upload Success."
    assert set(await trust.anchors("Auth")) == {pem(ca), pem(intermediate)}
    assert await trust.anchors("DEVICE") == []
    kinds = await db.as_owner("SELECT kind FROM keys.authority_certificate ORDER BY kind")
    assert [row["kind"] for row in kinds] == ["INTERMEDIATE", "ROOT"]


async def test_each_authority_is_audited(ready, db):
    rows = await db.outbox_rows()
    assert [(row["topic"], row["key"]) for row in rows] == [("audit.recorded", "AUTH")] * 2


def test_audit_event_has_the_shape_of_audits_own():
    event = KeysAudited(context="keys", action="a", actor="system", purpose="trust", at="now")
    assert KeysAudited.topic() == AuditRecorded.topic()
    assert msgspec.json.encode(event) == msgspec.json.encode(msgspec.convert(msgspec.to_builtins(event), AuditRecorded))


async def test_authority_refusals(ready, ca, intermediate, leaf, keys, today):
    await refused("KER-PCM-011", ready.add_ca(pem(ca), "OTHER"))
    await refused("KER-PCM-001", ready.add_ca("-----BEGIN CERTIFICATE-----", "AUTH"))
    await refused("KER-PCM-001", ready.add_ca("AAAA", "AUTH"))
    await refused("KER-PCM-003", ready.add_ca(pem(ca), "AUTH"))
    await refused("KER-PCM-005", ready.add_ca(pem(intermediate), "DEVICE"))
    await refused("KER-PCM-005", ready.add_ca(pem(leaf), "AUTH"))
    await refused("KER-PCM-005", ready.add_ca(pem(self_signed("no ca", keys[3], PARTNER, start=today)), "AUTH"))
    future = self_signed("future", keys[3], start=today + timedelta(days=1))
    past = self_signed("past", keys[3], start=today - timedelta(days=9), days=8)
    for holder in (future, past):
        await refused("KER-PCM-004", ready.add_ca(pem(holder), "AUTH"))


async def test_pkcs7(trust, ca, intermediate, leaf, keys, today):
    chain = [holder.certificate for holder in (leaf, intermediate, ca)]
    assert await trust.add_ca(certificates.chain_p7b(chain[1:]), "AUTH") == "Upload Success."
    assert await trust.add_ca(certificates.chain_p7b(chain), "FTM") == "Partial Upload Success."
    assert await trust.add_ca(certificates.chain_p7b(chain[1:]), "AUTH") == "Upload Failed."
    assert set(await trust.anchors("FTM")) == {pem(ca), pem(intermediate)}


async def test_partner_is_resigned_by_pms(ready, leaf, keys_core, today, db):
    answer = await ready.register_partner(pem(leaf), ORGANISATION, "AUTH")
    signed, pms, root = certificates.parse_p7b(answer.signed_chain_p7b)
    assert certificates.pem(signed) == answer.signed_pem
    assert answer.original_pem == pem(leaf)
    assert certificates.pem(pms) == (await keys_core.certificate(PMS)).pem
    assert signed.public_key() == leaf.key.public_key()
    assert signed.subject == name("rp")
    assert {certificates.pem(pms), certificates.pem(root)} < set(await ready.anchors("AUTH"))
    assert answer.signed_pem not in await ready.anchors("AUTH")
    await ready.verify(answer.signed_pem, "AUTH")
    await ready.verify(answer.original_pem, "AUTH")
    with pytest.raises(UntrustedCertificate):
        await ready.verify(answer.signed_pem, "DEVICE")
    rows = await db.as_owner("SELECT certificate_id::text, domain, organisation FROM keys.partner_certificate")
    assert [tuple(row) for row in rows] == [(answer.certificate_id, "AUTH", ORGANISATION)]


async def test_resigned_leaf_mints_nothing(ready, leaf, keys, today):
    answer = await ready.register_partner(pem(leaf), ORGANISATION, "AUTH")
    holder = Holder(leaf.key, certificates.parse_pem(answer.signed_pem))
    minted = holder.signs(PARTNER, "minted", keys[3], start=today)
    await refused("KER-PCM-006", ready.register_partner(pem(minted), ORGANISATION, "AUTH"))
    await refused("KER-PCM-005", ready.add_ca(answer.signed_pem, "AUTH"))


async def test_partner_marked_as_authority_never_becomes_one(ready, intermediate, keys, today):
    old = intermediate.signs(Profile(path_length=None, signs=True, enciphers=True), "old", keys[3], start=today)
    marked = intermediate.signs(MASTER, "marked", keys[3], start=today)
    for holder in (old, marked):
        await ready.register_partner(pem(holder), ORGANISATION, "AUTH")
        await refused("KER-PCM-005", ready.add_ca(pem(holder), "AUTH"))


async def test_known_certificate_is_renewed(ready, leaf):
    first = await ready.register_partner(pem(leaf), ORGANISATION, "AUTH")
    second = await ready.register_partner(pem(leaf), ORGANISATION, "auth")
    assert first.certificate_id != second.certificate_id
    assert first.signed_pem != second.signed_pem


async def test_chip_makers_keep_their_chain(trust, ca, intermediate, leaf):
    await trust.add_ca(pem(ca), "FTM")
    await trust.add_ca(pem(intermediate), "FTM")
    answer = await trust.register_partner(pem(leaf), ORGANISATION, "FTM")
    assert answer.signed_pem == answer.original_pem == pem(leaf)
    assert certificates.parse_p7b(answer.signed_chain_p7b) == (
        leaf.certificate, intermediate.certificate, ca.certificate,
    )  # fmt: skip


async def test_partner_refusals(ready, leaf, intermediate, ca, keys, today, tmp_path):
    async def code(expected, text, organisation=ORGANISATION, domain="AUTH"):
        await refused(expected, ready.register_partner(text, organisation, domain))

    await code("KER-PCM-001", "text")
    await code("KER-PCM-011", pem(leaf), domain="PARTNER")
    await code("KER-PCM-004", pem(intermediate.signs(PARTNER, "rp", keys[2], start=today + timedelta(days=1))))
    await code("KER-PCM-004", pem(intermediate.signs(PARTNER, "rp", keys[2], start=today, days=334)))
    await code("KER-PCM-015", pem(self_signed("rp", keys[2], PARTNER, start=today)))
    await code("KER-PCM-006", pem(leaf), domain="DEVICE")
    await code("KER-PCM-008", pem(leaf), "relying party")
    await code("KER-PCM-008", pem(leaf), "")
    nobody = intermediate.signs(PARTNER, "rp", keys[2], start=today, organisation="Other")
    await code("KER-PCM-008", pem(nobody))
    await code("KER-PCM-013", pem(intermediate.signs(PARTNER, "rp", new_rsa(1024), start=today)))
    await code(
        "KER-PCM-013", pem(intermediate.signs(PARTNER, "rp", ec.generate_private_key(ec.SECP256R1()), start=today))
    )
    await code("KER-PCM-014", certificates.pem(openssl_certificate(tmp_path, ca, keys[3])))
    accepted = intermediate.signs(PARTNER, "rp", keys[2], start=today, days=337)
    assert await ready.register_partner(pem(accepted), ORGANISATION, "AUTH")


async def test_revocation(ready, leaf, intermediate, ca, db):
    await ready.verify(pem(leaf), "AUTH")
    await ready.revoke(pem(leaf), "key lost")
    await ready.revoke(pem(leaf), "again")
    with pytest.raises(CertificateRevoked):
        await ready.verify(pem(leaf), "AUTH")
    await refused("KER-PCM-006", ready.register_partner(pem(leaf), ORGANISATION, "AUTH"))
    rows = await db.as_owner("SELECT reason FROM keys.revoked_certificate")
    assert [row["reason"] for row in rows] == ["key lost"]
    assert len(await db.outbox_rows()) == 3


async def test_revoked_authority_anchors_nothing(ready, leaf, intermediate, ca):
    await ready.revoke(pem(intermediate), "compromised")
    assert await ready.anchors("AUTH") == [pem(ca)]
    with pytest.raises(UntrustedCertificate):
        await ready.verify(pem(leaf), "AUTH")
    await refused("KER-PCM-003", ready.add_ca(pem(intermediate), "AUTH"))
    await ready.add_ca(pem(ca), "DEVICE")
    await refused("KER-PCM-005", ready.add_ca(pem(intermediate), "DEVICE"))


async def test_nothing_stored_can_be_changed(ready, db):
    for statement in ("DELETE FROM keys.revoked_certificate", "UPDATE keys.authority_certificate SET pem = ''"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.core("keys").execute(statement)


async def test_old_version(ready, ca, keys, tmp_path):
    old = openssl_certificate(tmp_path, ca, keys[3], subject="/O=Relying Party/CN=v1", v1=True, digest="-sha256")
    assert old.version is x509.Version.v1
    await refused("KER-PCM-007", ready.register_partner(certificates.pem(old), ORGANISATION, "AUTH"))
    await refused("KER-PCM-007", ready.add_ca(certificates.pem(old), "AUTH"))


async def test_upload_twice_at_once_stores_and_audits_once(trust, ca, db):
    answers = await asyncio.gather(*(trust.add_ca(pem(ca), "AUTH") for _ in range(4)), return_exceptions=True)
    assert "Upload Success." in answers
    assert all(answer == "Upload Success." or answer.code == "KER-PCM-003" for answer in answers)
    assert len(await trust.anchors("AUTH")) == len(await db.outbox_rows()) == 1
