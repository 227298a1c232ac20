"""Masters in a real SoftHSM2 token: the traps of tokens. The contract of `Keys` runs over one too (conftest.py)."""

import os
import shutil
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pkcs11
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from pkcs11 import Attribute, Mechanism, ObjectClass

from civium.kernel.clock import FixedClock, SystemClock
from civium.kernel.errors import CiviumError, IntegrityError, Unavailable
from civium.kernel.secrets import Secret
from civium.keys.api import DecryptionFailed, KeyProblem, KeyRef
from civium.keys.formats import certificates
from civium.keys.formats.primitives import OAEP, unwrap, wrap
from civium.keys.keystore import Keystore, KeystoreClosed
from civium.keys.opening import TokenAccess, Unsealing
from civium.keys.operations import Keystores, Operations
from civium.keys.pkcs11_token import REFUSAL_FILE, Token, initialise
from civium.keys.pkcs11_vault import TokenVault, unpad_key
from civium.keys.plan import ROOT, Plan, Policy
from civium.keys.protocol import MakeDataKey, Sign, UnwrapDataKey
from civium.keys.secretbox import DATA_KEYS, OWN
from token_fixtures import LIBRARY, PIN

KEY = bytes(range(32))
APP, BASE = KeyRef("APP"), KeyRef("APP", "x")
_LONG = Policy(timedelta(days=900), timedelta(days=9))
SMALL = Plan("small", (ROOT, APP), (BASE,), {"ROOT": _LONG, "APP": _LONG}, APP)
"""A hierarchy of three keys, since a token takes half a second for each."""


class Opened:
    """A small keystore in a token."""

    def __init__(self, home: Path, access: TokenAccess, clock: FixedClock) -> None:
        self.token = Token(access.library, access.label, access.pin, home)
        self.vault = TokenVault(self.token, "small")
        self.vault.make_secret("files")
        root = Secret(self.vault.derive("files", b"", "root"))
        self.store = Keystore(home / "small", "small", root, self.vault)
        self.operations = Operations(self.store, self.vault, SMALL, clock)
        self.operations.secrets.establish(OWN)
        self.operations.hierarchy.establish()

    def close(self) -> None:
        self.store.close()
        self.token.close()


@pytest.fixture
def opened(tmp_path, new_token):
    one = Opened(tmp_path, new_token, FixedClock(SystemClock().now()))
    yield one
    one.close()


def _objects(opened: Opened, template: dict) -> list:
    return opened.token.run(lambda session: list(session.get_objects(template)))


def test_no_key_can_leave_the_token(opened):
    kinds = (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY)
    unwrap(
        opened.operations.hierarchy.current(BASE).private,
        wrap(opened.operations.hierarchy.current(BASE).certificate, KEY),
    )
    found = [each for kind in kinds for each in _objects(opened, {Attribute.CLASS: kind})]
    assert len(found) == 2 + 1 + 1 + len(OWN) + 1  # masters, base key in use, its KEK, secrets, files
    for each in found:
        for hidden in (Attribute.VALUE, Attribute.PRIVATE_EXPONENT, Attribute.PRIME_1):
            with pytest.raises((pkcs11.exceptions.AttributeSensitive, pkcs11.exceptions.AttributeTypeInvalid)):
                opened.token.run(lambda _, each=each, hidden=hidden: each[hidden])
        assert opened.token.run(lambda _, each=each: (each[Attribute.EXTRACTABLE], each[Attribute.SENSITIVE])) == (
            False,
            True,
        )
    kek = _objects(opened, {Attribute.LABEL: "civium small base-key-kek"})[0]
    master = _objects(opened, {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.TOKEN: True})[0]
    with pytest.raises(pkcs11.exceptions.PKCS11Error):
        opened.token.run(lambda _: kek.wrap_key(master, mechanism=Mechanism.AES_KEY_WRAP_PAD))
    private = opened.operations.hierarchy.current(BASE).private
    with pytest.raises(UnsupportedAlgorithm):
        private.private_numbers()
    with pytest.raises(UnsupportedAlgorithm):
        private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def test_keys_secrets_and_files_survive_a_restart(tmp_path, new_token):
    clock = FixedClock(SystemClock().now())
    one = Opened(tmp_path, new_token, clock)
    made = one.operations.perform(MakeDataKey("p", b"c"))
    base = one.operations.hierarchy.current(BASE)
    hashed = one.operations.secrets.keyed_hash("uin", b"1")
    one.close()
    again = Opened(tmp_path, new_token, clock)
    assert again.operations.perform(UnwrapDataKey("p", b"c", made.wrapped)) == made.clear
    assert again.operations.secrets.keyed_hash("uin", b"1") == hashed
    assert unwrap(again.operations.hierarchy.holder(BASE, base.thumbprint), wrap(base.certificate, KEY)) == KEY
    again.close()
    assert KEY not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_signatures_verify_and_only_known_kinds_are_made(opened):
    key = opened.operations.hierarchy.current(APP).private
    public = key.public_key()
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    for kind in (padding.PKCS1v15(), pss):
        public.verify(key.sign(b"data", kind, hashes.SHA256()), b"data", kind, hashes.SHA256())
        digest = hashes.Hash(hashes.SHA256())
        digest.update(b"data")
        signed = key.sign(digest.finalize(), kind, Prehashed(hashes.SHA256()))
        public.verify(signed, b"data", kind, hashes.SHA256())
    with pytest.raises(UnsupportedAlgorithm):
        key.sign(b"data", padding.PKCS1v15(), hashes.SHA1())
    with pytest.raises(UnsupportedAlgorithm):
        key.sign(b"data", OAEP, hashes.SHA256())
    with pytest.raises(UnsupportedAlgorithm):
        key.decrypt(b"x" * 256, OAEP)
    base = opened.operations.hierarchy.current(BASE)
    with pytest.raises(UnsupportedAlgorithm):
        base.private.decrypt(b"x" * 256, padding.PKCS1v15())
    assert "BEGIN CERTIFICATE REQUEST" in opened.operations.hierarchy.signing_request(BASE, None)


def test_every_bad_session_key_is_the_same_error(opened):
    base = opened.operations.hierarchy.current(BASE)
    good = wrap(base.certificate, KEY)
    assert unwrap(base.private, good) == KEY
    public = base.certificate.public_key()
    numbers = public.public_numbers()

    def raw(block: bytes) -> bytes:
        return pow(int.from_bytes(block, "big"), numbers.e, numbers.n).to_bytes(256, "big")

    label = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=b"other")
    sha1 = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)
    bad = [
        good[:-1] + bytes([good[-1] ^ 1]),
        b"\xff" * 256,
        bytes(256),
        raw(b"\0" + bytes(255)),
        raw(b"\1" + bytes(range(255))[::-1]),
        public.encrypt(KEY, padding.PKCS1v15()),
        public.encrypt(KEY, label),
        public.encrypt(KEY, sha1),
        public.encrypt(KEY[:-1], OAEP),
        public.encrypt(KEY + b"x", OAEP),
        public.encrypt(b"", OAEP),
    ]
    said = set()
    for wrapped in bad:
        with pytest.raises(DecryptionFailed) as refused:
            unwrap(base.private, wrapped)
        said.add(str(refused.value))
    assert len(said) == 1
    assert unwrap(base.private, good) == KEY


_raw_key = rsa.generate_private_key(65537, 2048)


def _padded(message: bytes) -> bytes:
    """An OAEP block of another implementation: encrypted there, raw RSA here."""
    numbers = _raw_key.private_numbers()
    sealed = int.from_bytes(_raw_key.public_key().encrypt(message, OAEP), "big")
    return pow(sealed, numbers.d, numbers.public_numbers.n).to_bytes(256, "big")


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_padding_comes_off_as_openssl_put_it_on(key):
    assert unpad_key(_padded(key)) == key


@given(st.binary(max_size=300))
def test_padding_of_arbitrary_bytes_is_an_error(block):
    with pytest.raises(ValueError, match=r"^decryption failed$"):
        unpad_key(block)


def test_every_flipped_bit_of_a_block_is_an_error():
    block = bytearray(_padded(KEY))
    for bit in range(len(block) * 8):
        block[bit // 8] ^= 1 << bit % 8
        if bit < 8 or bit % 5 == 0:
            with pytest.raises(ValueError, match="decryption failed"):
                unpad_key(bytes(block))
        block[bit // 8] ^= 1 << bit % 8
    assert unpad_key(bytes(block)) == KEY


def test_many_threads_share_the_one_that_the_library_bears(opened):
    key = opened.operations.hierarchy.current(APP).private
    base = opened.operations.hierarchy.current(BASE)

    def both(number: int) -> bool:
        signed = key.sign(b"%d" % number, padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signed, b"%d" % number, padding.PKCS1v15(), hashes.SHA256())
        return unwrap(base.private, wrap(base.certificate, KEY)) == KEY

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(both, range(40)))


@pytest.mark.parametrize("lost", ["session", "library"])
def test_a_lost_session_is_made_anew(opened, lost):
    base = opened.operations.hierarchy.current(BASE)
    before = opened.operations.perform(Sign("APP", "", b"{}", False, False, False))
    assert unwrap(base.private, wrap(base.certificate, KEY)) == KEY
    logins = opened.token.login
    if lost == "session":
        opened.token.run(lambda session: session.close())
    else:
        opened.token.run(lambda _: pkcs11.lib(str(LIBRARY)).reinitialize())
    assert opened.operations.perform(Sign("APP", "", b"{}", False, False, False)) == before
    assert opened.token.login == logins + 1
    assert unwrap(base.private, wrap(base.certificate, KEY)) == KEY
    assert len(opened.vault.derive(DATA_KEYS, b"", "x")) == 32


def test_a_token_that_was_taken_away_is_unavailable_until_it_is_back(opened, softhsm):
    tokens = softhsm / "tokens"
    key = opened.operations.hierarchy.current(APP).private
    tokens.rename(softhsm / "away")
    tokens.mkdir()
    opened.token.run(lambda _: pkcs11.lib(str(LIBRARY)).reinitialize())
    for _ in range(2):
        with pytest.raises(Unavailable):
            key.sign(b"x", padding.PKCS1v15(), hashes.SHA256())
    tokens.rmdir()
    (softhsm / "away").rename(tokens)
    key.public_key().verify(
        key.sign(b"x", padding.PKCS1v15(), hashes.SHA256()), b"x", padding.PKCS1v15(), hashes.SHA256()
    )


def test_a_wrong_pin_is_tried_once_and_never_again(tmp_path, new_token, monkeypatch):
    tried = []
    find = Token._find

    class Counting:
        def __init__(self, token):
            self._token = token
            self.flags = token.flags

        def open(self, **how):
            tried.append(how.get("user_pin"))
            return self._token.open(**how)

    monkeypatch.setattr(Token, "_find", lambda self: Counting(find(self)))
    wrong = replace(new_token, pin=Secret("0000-wrong"))
    for _ in range(4):
        with pytest.raises(KeystoreClosed, match="pkcs11_pin") as refused:
            Token(wrong.library, wrong.label, wrong.pin, tmp_path)
        assert "0000-wrong" not in str(refused.value)
    assert tried == ["0000-wrong"]
    with pytest.raises(KeystoreClosed):
        Token(new_token.library, new_token.label, new_token.pin, tmp_path)
    (tmp_path / REFUSAL_FILE).unlink()
    Token(new_token.library, new_token.label, new_token.pin, tmp_path).close()
    assert tried == ["0000-wrong", PIN]


def test_a_token_with_one_try_left_is_not_tried(tmp_path, new_token, monkeypatch):
    class Warned:
        flags = pkcs11.constants.TokenFlag.USER_PIN_FINAL_TRY

    monkeypatch.setattr(Token, "_find", lambda self: Warned)
    with pytest.raises(KeystoreClosed, match="one try left"):
        Token(new_token.library, new_token.label, new_token.pin, tmp_path)


@pytest.mark.parametrize(
    ("library", "label", "said"),
    [(LIBRARY, "no-such-token", "no token"), (Path("/usr/lib/nothing.so"), "x", "does not work as a PKCS#11 library")],
)
def test_what_is_missing_is_named(softhsm, tmp_path, library, label, said):
    with pytest.raises(KeystoreClosed, match=said):
        Token(library, label, Secret(PIN), tmp_path)


@pytest.mark.tamper
def test_a_swapped_or_changed_base_key_does_not_load(opened):
    hierarchy = opened.operations.hierarchy
    base = hierarchy.current(BASE)
    alias = str(uuid.uuid4())
    changed = base.held.kept[:-1] + bytes([base.held.kept[-1] ^ 1])
    with pytest.raises(DecryptionFailed):
        unwrap(
            opened.vault.load_key(alias, changed, base.private.public_key(), master=False), wrap(base.certificate, KEY)
        )


@pytest.mark.tamper
def test_an_older_copy_of_the_whole_keystore_is_refused(tmp_path, new_token):
    clock = FixedClock(SystemClock().now())
    one = Opened(tmp_path, new_token, clock)
    shutil.copytree(tmp_path / "small", tmp_path / "old")
    one.operations.secrets.rotate(DATA_KEYS)
    one.close()
    shutil.rmtree(tmp_path / "small")
    shutil.copytree(tmp_path / "old", tmp_path / "small")
    token = Token(new_token.library, new_token.label, new_token.pin, tmp_path)
    vault = TokenVault(token, "small")
    with pytest.raises(IntegrityError, match="older copy"):
        Keystore(tmp_path / "small", "small", Secret(vault.derive("files", b"", "root")), vault)
    token.close()


def test_a_destroyed_master_and_secret_are_gone_from_the_token(opened):
    hierarchy = opened.operations.hierarchy
    first = hierarchy.current(APP)
    hierarchy._clock.advance(timedelta(seconds=2))
    hierarchy.rotate(APP)
    hierarchy.destroy(APP, first.thumbprint)
    assert not _objects(opened, {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: uuid.UUID(first.alias).bytes})
    made = opened.operations.perform(MakeDataKey("p", b"c"))
    opened.operations.secrets.rotate(DATA_KEYS)
    assert opened.operations.perform(UnwrapDataKey("p", b"c", made.wrapped)) == made.clear
    opened.operations.secrets.destroy(DATA_KEYS, 1)
    with pytest.raises(DecryptionFailed):
        opened.operations.perform(UnwrapDataKey("p", b"c", made.wrapped))


def test_a_key_made_elsewhere_is_taken_in_and_cannot_leave(opened, tmp_path):
    hierarchy = opened.operations.hierarchy
    private = rsa.generate_private_key(65537, 2048)
    now = SystemClock().now()
    name = certificates.module_name("APP", "y")
    certificate = certificates.issue(
        certificates.BASE, name, private.public_key(), issuer=name, signing_key=private,
        not_before=now - timedelta(days=1), not_after=now + timedelta(days=400),
    )  # fmt: skip
    for ref, master in ((KeyRef("APP", "y"), False), (APP, True)):
        taken = hierarchy.adopt(ref, private, certificate)
        assert hierarchy.current(ref) == taken
        with pytest.raises(UnsupportedAlgorithm):
            taken.private.private_numbers()
        if master:
            signed = taken.private.sign(b"x", padding.PKCS1v15(), hashes.SHA256())
            private.public_key().verify(signed, b"x", padding.PKCS1v15(), hashes.SHA256())
        else:
            assert unwrap(taken.private, wrap(certificate, KEY)) == KEY
    with pytest.raises(KeyProblem, match="KER-KMS-014"):
        hierarchy.adopt(APP, rsa.generate_private_key(65537, 2048), certificate)


def test_settings_that_contradict_the_keystores_are_refused(made_home, tmp_path, new_token):
    shutil.copytree(made_home / "keys", tmp_path / "keys")
    with pytest.raises(KeystoreClosed, match=r"root\.key"):
        Keystores(tmp_path / "keys", Unsealing(token=new_token), zk_pool_size=1, clock=SystemClock())


def test_a_token_is_initialised_once(softhsm, tmp_path):
    code = (
        "import sys; from pathlib import Path; from civium.kernel.secrets import Secret;"
        "from civium.keys.pkcs11_token import *;"
        "initialise(Path(sys.argv[1]), 'made-here', pin=Secret('pin-pin'), officer_pin=Secret('officer'));"
        "Token(Path(sys.argv[1]), 'made-here', Secret('pin-pin'), Path(sys.argv[2])).close()"
    )
    run = [sys.executable, "-c", code, str(LIBRARY), str(tmp_path)]
    assert subprocess.run(run, env=os.environ, capture_output=True, check=False).returncode == 0
    again = subprocess.run(run, env=os.environ, capture_output=True, text=True, check=False)
    assert again.returncode != 0
    assert "already" in again.stderr


def test_labels_are_checked(tmp_path):
    with pytest.raises(CiviumError, match="32 bytes"):
        initialise(LIBRARY, "x" * 33, pin=Secret("1"), officer_pin=Secret("2"))


async def test_the_whole_key_process_works_in_a_token(tmp_path, new_token, server_over):
    home = tmp_path / "h"
    server = server_over(home)
    server.extra = {
        "CIVIUM_KEYS__PKCS11_LIBRARY": str(LIBRARY),
        "CIVIUM_KEYS__PKCS11_TOKEN": new_token.label,
        "CIVIUM_KEYS__PKCS11_PIN": PIN,
    }
    server.start()
    assert server.ready
    core, auth = server.clients()
    signed = await core.jwt_sign(b"{}")
    assert signed.count(".") == 2
    sealed = await core.encrypt(KeyRef("PARTNER", "mpartner-default-auth"), b"credential")
    assert await auth.decrypt(KeyRef("IDA", "mpartner-default-auth"), sealed) == b"credential"
    server.end(15)
    server.start()
    assert await core.jwt_sign(b"{}") == signed
    await core.close()
    await auth.close()
