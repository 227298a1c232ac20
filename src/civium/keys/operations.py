"""What a keystore does with its keys: the operations behind every call, and the opening of both keystores."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from civium.kernel.clock import Clock
from civium.kernel.encoding import b64u
from civium.keys import secretbox
from civium.keys.api import IDA_CRED_SERVICE, IDA_PARTNER_ID, IDA_PUBLIC_KEY, DecryptionFailed, KeyProblem, KeyRef
from civium.keys.formats import certificates, hybrid_pq, jws, signing, zk
from civium.keys.formats.primitives import KEY_SIZE, new_key, thumbprint, unb64_or, unwrap
from civium.keys.hierarchy import Generation, Hierarchy, State
from civium.keys.hybrid_keys import HybridKeys
from civium.keys.keystore import Keystore, Record
from civium.keys.opening import Unsealing, open_stores
from civium.keys.plan import AUTH, CORE, Plan
from civium.keys.protocol import (
    AnyCall,
    Call,
    CertificateReply,
    Certify,
    DataKeyReply,
    GetCertificate,
    GetCertificates,
    IdentifierSalt,
    InstallCertificate,
    IssuePartner,
    KeyedHash,
    KeyReply,
    ListKeys,
    MakeDataKey,
    MakeMaster,
    MakeRequest,
    RenewDataKey,
    RenewSymmetric,
    Retire,
    Rotate,
    RotateSecret,
    Sign,
    SignData,
    TokenId,
    Unwrap,
    UnwrapDataKey,
    ZkDerive,
    ZkFresh,
    ZkFreshReply,
    ZkInstall,
    ZkReEncrypt,
)
from civium.keys.secretbox import DATA_KEYS, SecretBox
from civium.keys.vault import Vault
from civium.keys.zkpool import ZkPool

EXCHANGED: Final = frozenset({IDA_PUBLIC_KEY, KeyRef("PARTNER", IDA_PARTNER_ID)})
"""What the core encrypts to authentication with: the key process alone sets it, so that nothing is sealed to others."""
_COMPLETE: Final = "complete"


class Operations:
    """One security context's keystore, open. Thread-safe; knows nothing of callers and their rights."""

    def __init__(self, store: Keystore, vault: Vault, plan: Plan, clock: Clock) -> None:
        """Read the keystore; raises IntegrityError when a file was changed."""
        self._store = store
        self._plan = plan
        self.secrets = SecretBox(store, vault, clock)
        self.hierarchy = Hierarchy(store, vault, plan, clock)
        self.pool = ZkPool(store, self.secrets)
        self.hybrid = HybridKeys(store, self.secrets, clock)
        self._operations: dict[type[Call], Callable[[Any], object]] = {
            GetCertificate: self._certificate,
            GetCertificates: self._certificates,
            InstallCertificate: self._install,
            Unwrap: self._unwrap,
            Sign: self._sign,
            MakeMaster: self._make_master,
            MakeRequest: self._make_request,
            Certify: self._certify,
            Retire: self._retire,
            RenewSymmetric: self._renew_symmetric,
            SignData: self._sign_data,
            IssuePartner: self._issue,
            ZkFresh: self._zk_fresh,
            ZkDerive: self._zk_derive,
            ZkInstall: self._zk_install,
            ZkReEncrypt: self._zk_re_encrypt,
            TokenId: self._token_id,
            MakeDataKey: self._data_key,
            UnwrapDataKey: self._unwrap_data_key,
            RenewDataKey: self._renew_data_key,
            KeyedHash: self._keyed_hash,
            IdentifierSalt: self._identifier_salt,
            ListKeys: self._list_keys,
            Rotate: self._rotate,
            RotateSecret: self._rotate_secret,
        }

    def establish(self, secrets: tuple[str, ...], *, pool_size: int = 0, shared: SecretBox | None = None) -> None:
        """Make every key that is missing at the first start (about 0.1 s per RSA key).

        Once complete, a missing secret or pool means that a file was lost: raises IntegrityError.
        """
        complete = self._store.read(_COMPLETE) is not None
        if complete:
            self.secrets.require((*secrets, *secretbox.SHARED))
        else:
            self.secrets.establish(secrets)
            if shared is None:
                self.secrets.establish(secretbox.SHARED)
            else:
                shared.share(secretbox.SHARED, self.secrets)
            self.hierarchy.establish()
        if pool_size:
            self.pool.establish(pool_size, present=complete)
        if not complete:
            self._store.write(Record(_COMPLETE, b""))

    def rotate_secret(self, name: str) -> int:
        """Make a new version of a symmetric master and return its number; what it seals here is sealed anew."""
        version = self.secrets.rotate(name)
        if name == secretbox.IDENTITY_CACHE:
            self.pool.rewrap()
        return version.number

    def slow(self, call: AnyCall) -> bool:
        """Tell whether a call takes part of a millisecond or more: a certificate that need not be made does not."""
        return call.threaded and not (isinstance(call, GetCertificate) and self.hierarchy.has_current(call.ref))

    def perform(self, call: AnyCall) -> object:
        """Return the answer that the call's type names.

        Raises KeyProblem or DecryptionFailed. An RSA private operation takes about 700 microseconds, anything else
        but the making of a key some 10.
        """
        return self._operations[type(call)](call)

    def _certificate(self, call: GetCertificate) -> CertificateReply:
        return _reply(self.hierarchy.current(call.ref))

    def _certificates(self, call: GetCertificates) -> list[CertificateReply]:
        return [_reply(generation) for generation in self.hierarchy.generations(call.ref)]

    def _install(self, call: InstallCertificate) -> None:
        if call.ref in EXCHANGED:
            raise KeyProblem(
                "KER-KMS-015", "Upload of certificate will not be allowed to update other domain certificate."
            )
        self.hierarchy.install(call.ref, call.pem)

    def _unwrap(self, call: Unwrap) -> bytes:
        wanted = call.thumbprint
        if wanted is None:
            wanted = self.hierarchy.current(call.ref).thumbprint
        return unwrap(self.hierarchy.holder(call.ref, wanted), call.wrapped)

    def _sign(self, call: Sign) -> str:
        signer = self.hierarchy.signer(call.ref)
        signed = jws.signing_input(
            jws.header(
                key_id=signer.key_id,
                certificate=signer.certificate if call.include_certificate else None,
                hashed=signer.certificate if call.include_certificate_hash else None,
            ),
            call.payload,
        )
        signature = signer.signing_key().sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return jws.assemble(signed, signature, include_payload=call.include_payload)

    def _make_master(self, call: MakeMaster) -> CertificateReply:
        subject = certificates.requested_name(call.subject, call.application, call.reference)
        return _reply(self.hierarchy.make_master(call.ref, subject, force=call.force))

    def _make_request(self, call: MakeRequest) -> str:
        subject = certificates.requested_name(call.subject, call.application, call.reference)
        return self.hierarchy.signing_request(call.ref, subject)

    def _certify(self, call: Certify) -> None:
        self.hierarchy.certify(call.ref, call.pem)

    def _retire(self, call: Retire) -> None:
        if call.ref in EXCHANGED:
            raise KeyProblem("KER-KMS-021", "Key Revocation not allowed.")
        self.hierarchy.retire(call.ref)

    def _renew_symmetric(self, call: RenewSymmetric) -> bool:
        if call.ref != KeyRef(self._plan.sign.application_id, "IDENTITY_CACHE"):
            raise KeyProblem("KER-KMS-010", "Reference Id Not Supported for the Application ID.")
        if call.force:
            self.rotate_secret(secretbox.IDENTITY_CACHE)
        return call.force

    def _sign_data(self, call: SignData) -> bytes:
        signing.check_form(call.form, call.data)
        signer = self.hierarchy.signer(call.ref)
        if signer.thumbprint != call.thumbprint:
            raise KeyProblem("KER-KMS-001", "Certificate is not valid")
        return signer.signing_key().sign(call.data, signing.PADDINGS[call.algorithm], hashes.SHA256())

    def _issue(self, call: IssuePartner) -> list[str]:
        return self.hierarchy.issue_partner(call.leaf_pem, encipherment=call.encipherment)

    def _zk_fresh(self, call: ZkFresh) -> ZkFreshReply:
        receiver = self.hierarchy.current(IDA_PUBLIC_KEY).certificate
        index, key = self.pool.choose()
        derived = zk.derive_key(key.reveal(), call.id)
        offered = self.hybrid.offered(IDA_PUBLIC_KEY, thumbprint(receiver)) if call.hybrid else None
        if offered is None:
            return ZkFreshReply(index, derived, zk.encrypted_random_key((receiver,), key.reveal()))
        sealed = hybrid_pq.seal(offered.public, key.reveal(), _pool_context(index))
        return ZkFreshReply(index, derived, b64u(sealed))

    def _zk_derive(self, call: ZkDerive) -> bytes:
        return zk.derive_key(self.pool.key(call.index).reveal(), call.id)

    def _zk_install(self, call: ZkInstall) -> None:
        if not 0 <= call.index <= zk.MAX_INDEX:
            raise KeyProblem("KER-ZKC-006", "Invalid encrypted random Key.")
        opened = self._hybrid_random_key if call.hybrid else self._standard_random_key
        self.pool.install(call.index, opened(call))

    def _hybrid_random_key(self, call: ZkInstall) -> bytes:
        envelope = unb64_or(DecryptionFailed, call.encrypted_random_key)
        private = self.hybrid.holder(IDA_CRED_SERVICE, hybrid_pq.receiver(envelope))
        key = hybrid_pq.open_envelope(private, envelope, _pool_context(call.index))
        if len(key) != KEY_SIZE:
            raise DecryptionFailed("no pool key")
        return key

    def _standard_random_key(self, call: ZkInstall) -> bytes:
        return self._random_key(call.encrypted_random_key)

    def _zk_re_encrypt(self, call: ZkReEncrypt) -> str:
        return self.pool.wire_wrapped(self._random_key(call.encrypted_random_key))

    def _random_key(self, encrypted: str) -> bytes:
        for part in zk.split_random_key(encrypted):
            try:
                private = self.hierarchy.holder(IDA_CRED_SERVICE, part.thumbprint)
            except DecryptionFailed:
                continue
            return unwrap(private, part.wrapped)
        raise DecryptionFailed("no part of the random key is for this keystore")

    def _token_id(self, call: TokenId) -> str:
        return self.secrets.token_id(call.uin, call.partner_code)

    def _data_key(self, call: MakeDataKey) -> DataKeyReply:
        clear = new_key()
        return DataKeyReply(clear, self.secrets.wrap(DATA_KEYS, call.purpose, clear, call.context))

    def _unwrap_data_key(self, call: UnwrapDataKey) -> bytes:
        clear = self.secrets.unwrap(DATA_KEYS, call.purpose, call.wrapped, call.context)
        if len(clear) != KEY_SIZE:
            raise DecryptionFailed("no data key")
        return clear

    def _renew_data_key(self, call: RenewDataKey) -> bytes | None:
        clear = self.secrets.unwrap(DATA_KEYS, call.purpose, call.wrapped, call.context)
        if self.secrets.is_newest(DATA_KEYS, call.wrapped):
            return None
        return self.secrets.wrap(DATA_KEYS, call.purpose, clear, call.context)

    def _keyed_hash(self, call: KeyedHash) -> bytes:
        return self.secrets.keyed_hash(call.domain, call.value)

    def _identifier_salt(self, call: IdentifierSalt) -> str:
        if not 0 <= call.modulo < secretbox.SALTS:
            raise KeyProblem("KER-KMS-005", "Invalid request")
        return self.secrets.identifier_salt(call.modulo)

    def _list_keys(self, _: ListKeys) -> list[KeyReply]:
        return [*map(_key_reply, self.hierarchy.all_generations()), *self._secret_replies()]

    def _secret_replies(self) -> Iterator[KeyReply]:
        for name in secretbox.OWN:
            for place, version in enumerate(self.secrets.versions(name)):
                state = State.DESTROYED if version.kept is None else State.DECRYPT_ONLY if place else State.ACTIVE
                yield KeyReply("", name, state, "", str(version.number), version.made_at, None)

    def _rotate(self, call: Rotate) -> CertificateReply:
        return _reply(self.hierarchy.rotate(call.ref))

    def _rotate_secret(self, call: RotateSecret) -> int:
        return self.rotate_secret(call.name)


def _pool_context(index: int) -> bytes:
    return b"zk pool key " + index.to_bytes(4, "big")


def _key_reply(generation: Generation) -> KeyReply:
    return KeyReply(
        generation.ref.application_id,
        generation.ref.reference_id,
        "other domain" if generation.foreign else generation.state,
        generation.thumbprint.hex(),
        generation.key_id,
        generation.issued_at,
        generation.expires_at,
    )


def _reply(generation: Generation) -> CertificateReply:
    return CertificateReply(
        certificates.pem(generation.certificate), generation.issued_at, generation.expires_at, generation.key_id
    )


class Keystores:
    """The keystores of both security contexts, open and complete. A context manager: leaving it closes them."""

    def __init__(self, home: Path, how: Unsealing, *, zk_pool_size: int, clock: Clock) -> None:
        """Open the keystores under ``home``, making both hierarchies at the first start (about 2 s).

        Raises KeystoreClosed (wrong passphrase or PIN, in use) or IntegrityError (changed or lost files).
        """
        with ExitStack() as closing:
            opened = open_stores(home, how, closing)
            self.core = Operations(*opened["core"], CORE, clock)
            self.core.establish((*secretbox.OWN, secretbox.IDENTIFIER_SALTS), pool_size=zk_pool_size)
            self.auth = Operations(*opened["auth"], AUTH, clock)
            self.auth.establish(secretbox.OWN, shared=self.core.secrets)
            self.keep_fresh()
            self._closing = closing.pop_all()

    def keep_fresh(self) -> None:
        """Do what time asks for: new versions of aged secrets, and the core's view of authentication's keys."""
        for operations in (self.core, self.auth):
            for name in operations.secrets.aged():
                operations.rotate_secret(name)
        self.exchange()

    def exchange(self) -> None:
        """Give the core the keys that it encrypts to authentication with (first-line section 1, step 3)."""
        for own, as_seen in (
            (IDA_CRED_SERVICE, IDA_PUBLIC_KEY),
            (KeyRef("IDA", IDA_PARTNER_ID), KeyRef("PARTNER", IDA_PARTNER_ID)),
        ):
            certificate = self.auth.hierarchy.current(own).certificate
            known = self.core.hierarchy.generations(as_seen)
            if not known or known[0].certificate.public_key() != certificate.public_key():
                self.core.hierarchy.install(as_seen, certificates.pem(certificate))
            self.core.hybrid.install(as_seen, self.auth.hybrid.current(own).public, thumbprint(certificate))

    def close(self) -> None:
        """Close both keystores, so that another process may open them."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
