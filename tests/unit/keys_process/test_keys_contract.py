"""What every binding of `Keys` must do; run in process and over the sockets of a real key process."""

import asyncio
import secrets
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from civium.kernel.encoding import b64u, unb64
from civium.keys.api import (
    IDA_CRED_SERVICE,
    IDA_FIR,
    IDA_PARTNER,
    IDA_PUBLIC_KEY,
    IDA_SIGN,
    KERNEL_SIGN,
    PMS,
    DecryptionFailed,
    KeyProblem,
    KeyRef,
    SignatureInvalid,
    packet_key,
)
from civium.keys.formats import certificates, jws
from civium.keys.formats import envelope as envelopes
from civium.keys.formats.primitives import thumbprint, wrap
from civium.keys.usage import citing
from civium.platform.telemetry import correlation

PACKET = packet_key("10001", "10001")


@pytest.mark.parametrize(
    ("salt", "aad"),
    [(b"n" * 12, b"place"), (b"s" * 16, None), (None, None), (None, b"place")],
)
async def test_envelopes_open_only_with_their_own_key_and_place(bound, salt, aad):
    sealed = await bound.core.encrypt(PACKET, b"a packet", salt=salt, aad=aad)
    assert await bound.core.decrypt(PACKET, sealed, salt=salt, aad=aad) == b"a packet"
    with pytest.raises(DecryptionFailed):
        await bound.core.decrypt(packet_key("10001", "10002"), sealed, salt=salt, aad=aad)
    with pytest.raises(DecryptionFailed):
        await bound.core.decrypt(PACKET, sealed[:-1] + bytes([sealed[-1] ^ 1]), salt=salt, aad=aad)
    if aad is not None:
        with pytest.raises(DecryptionFailed):
            await bound.core.decrypt(PACKET, sealed, salt=salt, aad=b"another place")


async def test_an_envelope_larger_than_a_frame_opens(bound):
    clear = secrets.token_bytes(20 * 1024 * 1024)
    assert await bound.core.decrypt(PACKET, await bound.core.encrypt(PACKET, clear)) == clear


async def test_masters_neither_encrypt_nor_decrypt(bound):
    with pytest.raises(KeyProblem, match="KER-CRY-011"):
        await bound.core.encrypt(KeyRef("REGISTRATION"), b"x")
    master = (await bound.core.certificate(KeyRef("REGISTRATION"))).x509
    with pytest.raises(KeyProblem, match="KER-CRY-012"):
        await bound.core.decrypt(KeyRef("REGISTRATION"), envelopes.encrypt(master, b"x"))


async def test_a_session_key_opens_by_thumbprint_and_by_current_key(bound):
    certificate = (await bound.auth.certificate(IDA_PARTNER)).x509
    key = secrets.token_bytes(32)
    wrapped = wrap(certificate, key)
    assert await bound.auth.unwrap_session_key(IDA_PARTNER, wrapped, thumbprint=thumbprint(certificate)) == key
    assert await bound.auth.unwrap_session_key(IDA_PARTNER, wrapped) == key
    with pytest.raises(DecryptionFailed):
        await bound.auth.unwrap_session_key(IDA_FIR, wrapped, thumbprint=thumbprint(certificate))
    with pytest.raises(DecryptionFailed):
        await bound.auth.unwrap_session_key(IDA_PARTNER, wrapped[:-1])


async def test_each_context_signs_with_its_own_sign_key(bound):
    for keys, ref in ((bound.core, KERNEL_SIGN), (bound.auth, IDA_SIGN)):
        certificate = await keys.certificate(ref)
        signed = await keys.jwt_sign(b'{"a":1}', ref=ref, include_certificate=True, include_certificate_hash=True)
        assert ".." in signed
        verified = jws.verify(signed, b'{"a":1}', certificate=certificate.x509)
        assert verified.key_id == certificate.key_id
        with pytest.raises(SignatureInvalid):
            jws.verify(signed, b'{"a":2}')
    with pytest.raises(KeyProblem, match="KER-JWS-108"):
        await bound.auth.jwt_sign(b"{}", ref=KERNEL_SIGN)


async def test_a_compact_signature_carries_its_payload(bound):
    signed = await bound.core.jwt_sign(b"payload", include_payload=True)
    certificate = (await bound.core.certificate(KERNEL_SIGN)).x509
    assert jws.verify(signed, certificate=certificate).payload == b"payload"


async def test_the_chain_holds_from_base_key_to_root(bound):
    base = (await bound.auth.certificate(IDA_PARTNER)).x509
    master = (await bound.auth.certificate(KeyRef("IDA"))).x509
    root = (await bound.auth.certificate(KeyRef("ROOT"))).x509
    base.verify_directly_issued_by(master)
    master.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert not base.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert base.subject.rfc4514_string().startswith("CN=IDA-PARTNER")


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        (KeyRef("NOBODY", "x"), "KER-KMS-002"),
        (KeyRef("NOBODY"), "KER-KMS-002"),
        (KeyRef("ROOT", "x"), "KER-KMS-016"),
        (KeyRef("KERNEL", "x"), "KER-KMS-016"),
        (KeyRef("PARTNER", "x"), "KER-KMS-016"),
        (KeyRef("KERNEL"), "KER-KMS-012"),
        (KeyRef("REGISTRATION", "10001/../10002"), "KER-KMS-010"),
    ],
)
async def test_keys_that_may_not_be_made_are_refused(bound, ref, code):
    with pytest.raises(KeyProblem) as refused:
        await bound.core.certificate(ref)
    assert refused.value.code == code
    assert await bound.core.certificates(ref) == []


async def test_many_at_once_make_a_base_key_once(bound):
    ref = packet_key("10009", "10009")
    made = await asyncio.gather(*(bound.core.certificate(ref) for _ in range(8)))
    assert len({certificate.pem for certificate in made}) == 1
    assert len(await bound.core.certificates(ref)) == 1


async def test_the_core_knows_how_to_encrypt_to_authentication(bound):
    assert (await bound.core.certificate(IDA_PUBLIC_KEY)).pem == (await bound.auth.certificate(IDA_CRED_SERVICE)).pem
    partner = await bound.core.certificate(KeyRef("PARTNER", "mpartner-default-auth"))
    assert partner.pem == (await bound.auth.certificate(KeyRef("IDA", "mpartner-default-auth"))).pem
    sealed = await bound.core.encrypt(KeyRef("PARTNER", "mpartner-default-auth"), b"a credential")
    assert await bound.auth.decrypt(KeyRef("IDA", "mpartner-default-auth"), sealed) == b"a credential"


def _leaf(at, *, organisation="Bank", days=400) -> str:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "bank"),
        ]
    )
    leaf = certificates.issue(
        certificates.PARTNER,
        name,
        key.public_key(),
        issuer=name,
        signing_key=key,
        not_before=at - timedelta(days=1),
        not_after=at + timedelta(days=days),
    )
    return certificates.pem(leaf)


async def test_a_partner_certificate_is_installed_and_replaced(bound):
    at = (await bound.core.certificate(PMS)).issued_at
    ref = KeyRef("PARTNER", "bank")
    first, second = _leaf(at), _leaf(at)
    await bound.core.install_certificate(ref, first)
    await bound.core.install_certificate(ref, first)
    assert (await bound.core.certificate(ref)).pem == first
    await bound.core.install_certificate(ref, second)
    assert (await bound.core.certificate(ref)).pem == second
    assert len(await bound.core.certificates(ref)) == 2
    for bad in ("", "no certificate", first.replace("A", "B", 40)):
        with pytest.raises(KeyProblem):
            await bound.core.install_certificate(ref, bad)
    with pytest.raises(KeyProblem):
        await bound.core.install_certificate(KERNEL_SIGN, first)


@pytest.mark.parametrize("encipherment", [True, False])
async def test_pms_signs_a_leaf_that_is_no_authority(bound, encipherment):
    pms = await bound.core.certificate(PMS)
    leaf = x509.load_pem_x509_certificate(_leaf(pms.issued_at).encode())
    chain = await bound.core.issue_partner_certificate(certificates.pem(leaf), encipherment=encipherment)
    signed, issuer, root = (x509.load_pem_x509_certificate(pem.encode()) for pem in chain)
    signed.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root)
    assert signed.public_key() == leaf.public_key()
    assert not signed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = signed.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, encipherment, False)
    with pytest.raises(KeyProblem, match="KER-PCM-001"):
        await bound.core.issue_partner_certificate("rubbish")


async def test_zero_knowledge_attributes_open_in_authentication_with_the_right_id_only(bound):
    sealed = await bound.core.zk_encrypt("2419762130", {"name": "María", "Face": "x" * 100_000})
    await bound.auth.zk_install(sealed.encrypted_random_key, sealed.random_key_index)
    await bound.auth.zk_install(sealed.encrypted_random_key, sealed.random_key_index)
    opened = await bound.auth.zk_decrypt("2419762130", sealed.attributes)
    assert opened == {"name": "María", "Face": "x" * 100_000}
    with pytest.raises(DecryptionFailed):
        await bound.auth.zk_decrypt("2419762131", sealed.attributes)
    assert (await bound.core.zk_decrypt("2419762130", sealed.attributes))["name"] == "María"


async def test_a_pool_key_never_installed_opens_nothing(bound):
    sealed = await bound.core.zk_encrypt("1", {"a": "b"})
    raw = unb64(sealed.attributes["a"])
    with pytest.raises(DecryptionFailed):
        await bound.auth.zk_decrypt("1", {"a": b64u((9_999).to_bytes(4, "big") + raw[4:])})


async def test_another_pool_key_cannot_take_a_taken_index(bound):
    sealed = [await bound.core.zk_encrypt("1", {"a": "b"}) for _ in range(40)]
    one = sealed[0]
    other = next(fresh for fresh in sealed if fresh.random_key_index != one.random_key_index)
    await bound.auth.zk_install(one.encrypted_random_key, one.random_key_index)
    with pytest.raises(KeyProblem, match="KER-ZKC-006"):
        await bound.auth.zk_install(other.encrypted_random_key, one.random_key_index)
    assert await bound.auth.zk_decrypt("1", one.attributes) == {"a": "b"}


@pytest.mark.parametrize("index", ["", "-1", "1.5", "٣", "9" * 10, "9" * 99])
async def test_a_bad_pool_index_is_refused(bound, index):
    sealed = await bound.core.zk_encrypt("1", {})
    with pytest.raises(KeyProblem, match="KER-ZKC-006"):
        await bound.auth.zk_install(sealed.encrypted_random_key, index)


@pytest.mark.parametrize("text", ["", "rubbish", "AAAA.AAAA", "A" * 384])
async def test_a_bad_random_key_is_refused(bound, text):
    with pytest.raises(DecryptionFailed):
        await bound.auth.zk_install(text, "1")


async def test_both_contexts_compute_the_same_tokens(bound):
    token = await bound.core.token_id("2419762130", "mpartner-1")
    assert token == await bound.auth.token_id("2419762130", "mpartner-1")
    assert len(token) == 36
    assert token.isdecimal()
    assert token != await bound.core.token_id("2419762130", "mpartner-2")


async def test_data_keys_are_bound_to_purpose_context_and_keystore(bound):
    made = await bound.core.data_key("identity/demographics", b"person 1")
    assert await bound.core.unwrap_data_key("identity/demographics", b"person 1", made.wrapped) == made.clear
    assert repr(made.clear) not in repr(made)
    for keys, purpose, context, wrapped in (
        (bound.core, "identity/biometrics", b"person 1", made.wrapped),
        (bound.core, "identity/demographics", b"person 2", made.wrapped),
        (bound.core, "identity/demographics", b"person 1", made.wrapped[:-1]),
        (bound.core, "identity/demographics", b"person 1", b""),
        (bound.auth, "identity/demographics", b"person 1", made.wrapped),
    ):
        with pytest.raises(DecryptionFailed):
            await keys.unwrap_data_key(purpose, context, wrapped)


async def test_keyed_hashes_differ_by_domain_value_and_keystore(bound):
    found = [
        await keys.keyed_hash(domain, value)
        for keys in (bound.core, bound.auth)
        for domain in ("uin", "vid")
        for value in (b"1", b"2")
    ]
    assert len(set(found)) == 8
    assert all(len(value) == 32 for value in found)
    assert await bound.core.keyed_hash("uin", b"1") == found[0]


async def test_there_are_a_thousand_salts(bound):
    first, last = await bound.core.identifier_salt(0), await bound.core.identifier_salt(999)
    assert first != last
    assert len(unb64(first)) == 16
    assert first.endswith("==")
    assert first == await bound.core.identifier_salt(0)
    for outside in (-1, 1000):
        with pytest.raises(KeyProblem):
            await bound.core.identifier_salt(outside)
    with pytest.raises(KeyProblem):
        await bound.auth.identifier_salt(0)


@pytest.mark.parametrize(
    "ref", [PACKET, KeyRef("ID_REPO", "uin"), KeyRef("IDA"), KeyRef("IDA", "SIGN"), IDA_CRED_SERVICE, KeyRef("ROOT")]
)
async def test_authentication_cannot_ask_for_what_is_not_its_own(bound, ref):
    with pytest.raises(KeyProblem, match="KER-CRY-012"):
        await bound.auth.unwrap_session_key(ref, b"x" * 256)


async def test_nobody_signs_with_the_root(bound):
    for keys in (bound.core, bound.auth):
        for ref in (KeyRef("ROOT"), PMS, PACKET):
            with pytest.raises(KeyProblem, match="KER-JWS-108"):
                await keys.jwt_sign(b"{}", ref=ref)


async def test_uses_are_counted_once(bound):
    await bound.core.usage()
    await bound.core.keyed_hash("uin", b"1")
    await bound.core.keyed_hash("uin", b"2")
    with pytest.raises(KeyProblem):
        await bound.core.unwrap_session_key(KeyRef("ROOT"), b"")
    uses = await bound.core.usage()
    assert [
        (use.operation, use.application, use.reference, use.count) for use in uses if use.operation != "Unseal"
    ] == [("KeyedHash", "HASH", "uin", 2)]
    assert await bound.core.usage() == []


async def test_a_use_cites_its_purpose_and_transaction_or_stands_out(bound):
    certificate = (await bound.core.certificate(PACKET)).x509
    wrapped = wrap(certificate, secrets.token_bytes(32))
    await bound.core.usage()
    await bound.core.unwrap_session_key(PACKET, wrapped)
    for transaction in ("t-1", "t-2", "t-2"):
        token = correlation.set(transaction)
        with citing("packet validation"):
            await bound.core.unwrap_session_key(PACKET, wrapped)
        correlation.reset(token)
    uses = [use for use in await bound.core.usage() if use.operation == "Unwrap"]
    assert [(use.reference, use.purpose, use.count, use.uncited, use.transactions) for use in uses] == [
        ("10001_10001", "REGISTRATION/10001_10001", 1, 1, 0),
        ("10001_10001", "packet validation", 3, 0, 2),
    ]
