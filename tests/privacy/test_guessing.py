"""What a thief of the database cannot find by trying all numbers: nothing that is stored follows from them alone."""

import base64
import hashlib
import logging

import pytest

from authentication_fixtures import *  # noqa: F403
from authentication_world import World
from civium.authentication.otp import material
from civium.identity.api import VidType
from civium.kernel.secrets import OTP
from civium.keys.api import decoded_id_hash, hash_modulo, id_hash, modulo
from civium.keys.secretbox import PARTNER_SALT, UIN_SALT
from identity_fixtures import identity_clock, new_person, subject

__all__ = ["identity_clock", "subject"]


async def dump(db, *schemas):
    """Return all rows of schemas as text, in lower case: bytes stand there in hexadecimal."""
    tables = await db.as_owner(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname = ANY($1)", list(schemas)
    )
    assert tables
    lines = [row["t"] for table in tables for row in await db.as_owner(f"SELECT t::text FROM {table['name']} t")]
    return "\n".join(lines).lower()


def digests(clear):
    """Return the forms in which a digest without a key could lie there."""
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, clear).digest()
        yield from (digest.hex(), base64.b64encode(digest).decode().lower(), digest.hex().encode().hex())


async def test_no_number_is_found_by_trying_all_with_every_salt(subject, keys_core):
    uin = await subject.register.create(new_person(), actor="r")
    vid = (await subject.register._vids.create(uin, VidType.TEMPORARY, actor="r")).vid
    stored = await dump(subject.db, "identity", "outbox_core", "audit")
    salts = [await keys_core.identifier_salt(number) for number in range(1000)]
    for number in (uin.reveal(), vid.reveal()):
        assert f"{modulo(number):03d}_" not in stored
        assert f"{hash_modulo(number)}_" not in stored
        for form in digests(number.encode()):
            assert form not in stored
        for salt in salts:
            for digest in (id_hash(number, salt), decoded_id_hash(number, salt)):
                assert digest.lower() not in stored
                assert digest.encode().hex() not in stored


async def test_no_otp_is_found_by_trying_all(world: World):
    person = await world.credential()
    otp = await world.client().otp(person.identifier, "1111111111")
    stored = await dump(world.db, "authentication", "outbox_auth")
    for clear in (
        otp.encode(),
        material(person.identifier, "1111111111", OTP(otp)),
        f"{person.identifier}{otp}".encode(),
        f"{otp}{person.identifier}".encode(),
    ):
        assert clear.hex() not in stored
        for form in digests(clear):
            assert form not in stored


async def test_the_salts_of_tokens_lie_nowhere_in_clear_and_tokens_are_neither_stored_nor_logged(
    world: World,
    keystores,
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
):
    caplog.set_level(logging.DEBUG)
    person = await world.credential()
    sent = await world.client().send("auth", person.identifier, demographics={"dob": "1990/01/31"})
    token = sent["response"]["authToken"]
    assert len(token) == 36
    written = capsys.readouterr()
    stored = await dump(world.db, "authentication", "outbox_auth")
    assert token not in caplog.text + written.out + written.err + stored
    files = b"".join(
        path.read_bytes() for path in tmp_path_factory.getbasetemp().glob("keystores*/**/*") if path.is_file()
    )
    assert files
    for name in (UIN_SALT, PARTNER_SALT):
        salt = keystores.core.secrets._value(name)
        for form in (salt, salt.hex().encode(), base64.b64encode(salt)):
            assert form not in files
            assert form.hex() not in stored
