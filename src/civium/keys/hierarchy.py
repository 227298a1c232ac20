"""The RSA key hierarchy of one security context and its life cycle (keys-and-crypto sections 1, 3 and 10.1).

ROOT certifies module masters, masters certify base keys. A master signs only: base keys are wrapped by a
key-encryption key of their own (section 13 no. 8), both inside the context's vault. Every generation stays, to open
what was encrypted to it, until it is destroyed. A thumbprint finds a generation only under its own (application,
reference) (section 13 no. 6).
"""

import re
import secrets
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from threading import Lock
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from civium.kernel import faults
from civium.kernel.clock import Clock
from civium.keys.api import Certificate, DecryptionFailed, KeyProblem, KeyRef
from civium.keys.formats import certificates, identifiers
from civium.keys.formats.primitives import rsa_key, thumbprint
from civium.keys.keystore import Keystore, Record
from civium.keys.plan import BASE, NO_BASE_KEYS, ROOT, SIGN, Plan
from civium.keys.vault import KEY_BITS, HeldKey, Vault

PARTNER_VALIDITY: Final = timedelta(days=365)
_REFERENCE: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PREFIX: Final = "key-"


class State(StrEnum):
    """What a generation may still do."""

    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt-only"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a key. Without ``held`` it is another domain's certificate, or destroyed."""

    alias: str
    ref: KeyRef
    state: State
    certificate: x509.Certificate
    uni_ident: str
    issued_at: datetime
    expires_at: datetime
    thumbprint: bytes
    held: HeldKey | None = field(repr=False)
    former: tuple[bytes, ...] = ()
    """Thumbprints of the same key's earlier certificates: what names them still opens."""

    @property
    def key_id(self) -> str:
        """The JWS ``kid``."""
        return identifiers.key_id(self.uni_ident)

    @property
    def private(self) -> rsa.RSAPrivateKey | None:
        """The private key, which may be a token's."""
        return None if self.held is None else self.held.private

    @property
    def foreign(self) -> bool:
        """Whether the key is another domain's, of which only the certificate is here."""
        return self.held is None and self.state is not State.DESTROYED

    def public(self) -> Certificate:
        """Return what may leave the key process."""
        return Certificate(certificates.pem(self.certificate), self.issued_at, self.expires_at, self.key_id)

    def signing_key(self) -> rsa.RSAPrivateKey:
        """Return the private key of a master; raises KeyProblem (KER-KMS-012) without one."""
        if self.private is None:
            raise _not_generated()
        return self.private


class _Body(msgspec.Struct, frozen=True, array_like=True):
    """The sealed part of a generation's file; ``kept`` is what the vault gave to keep of the private key."""

    certificate: bytes
    uni_ident: str
    issued_at: datetime
    expires_at: datetime
    kept: bytes | None
    former: tuple[bytes, ...] = ()


class Hierarchy:
    """The keys of one context. Reading takes no lock; making a key (about 0.1 s) holds one."""

    def __init__(self, store: Keystore, vault: Vault, plan: Plan, clock: Clock) -> None:
        """Read every generation; raises IntegrityError when a file was changed. About 60 microseconds each."""
        self._store = store
        self._vault = vault
        self._plan = plan
        self._clock = clock
        self._making = Lock()
        self._generations: dict[KeyRef, tuple[Generation, ...]] = {}
        for record in store.records(_PREFIX):
            self._remember(self._loaded(record))

    def establish(self) -> None:
        """Make the masters and base keys of the plan that are missing: at the first start, or after a crash in it."""
        with self._making:
            now = self._now()
            for ref in (*self._plan.masters, *self._plan.base_keys):
                if not self.generations(ref):
                    self._generate(ref, now)

    def generations(self, ref: KeyRef) -> tuple[Generation, ...]:
        """Return all generations, newest first; empty when there is none."""
        return self._generations.get(ref, ())

    def all_generations(self) -> Iterator[Generation]:
        """Return the generations of every key, by key and newest first."""
        for ref in sorted(self._generations, key=lambda each: (each.application_id, each.reference_id)):
            yield from self.generations(ref)

    def has_current(self, ref: KeyRef) -> bool:
        """Tell whether ``current`` finds a generation without making one."""
        try:
            return self._current(ref) is not None
        except KeyProblem:
            return False

    def current(self, ref: KeyRef) -> Generation:
        """Return the generation for new use, made now if it may be (section 3).

        Raises KeyProblem: KER-KMS-002 unknown application, 003 more than one, 012 master never made, 016 a base key
        that may not be made or another domain's certificate that expired.
        """
        found = self._current(ref)
        if found is not None:
            return found
        with self._making:
            return self._current(ref) or self._successor(ref)

    def holder(self, ref: KeyRef, wanted: bytes) -> rsa.RSAPrivateKey:
        """Return the private key of the base-key generation with this thumbprint, of any age.

        Masters never decrypt. Raises DecryptionFailed, the same for every reason.
        """
        for generation in self.generations(ref):
            named = wanted in (generation.thumbprint, *generation.former)
            if named and generation.private is not None and not _is_master(ref):
                return generation.private
        raise DecryptionFailed("no key for this thumbprint")

    def signer(self, ref: KeyRef) -> Generation:
        """Return the master that signs data for ``ref``; raises KeyProblem (KER-KMS-020) for any other key."""
        if ref == ROOT or not (ref.reference_id == "" or ref == self._plan.sign):
            raise KeyProblem(
                "KER-KMS-020", "Signing operation not allowed for the provided application id & reference id."
            )
        return self.current(ref)

    def install(self, ref: KeyRef, pem: str) -> None:
        """Take in another domain's certificate; the one before expires now. The same one again changes nothing.

        Raises KeyProblem: KER-KMS-015 for a key of our own, 010 for a reference that is no name, KER-PCM-001, 004,
        KER-CRY-002 for a certificate that is none, out of its dates, or of another key than RSA-2048.
        """
        certificate = certificates.parse_pem(pem)
        rsa_key(certificate)
        now = self._now()
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            raise KeyProblem("KER-PCM-004", "Certificate Dates are not valid.")
        if not _REFERENCE.fullmatch(ref.reference_id):
            raise KeyProblem("KER-KMS-010", "Reference Id Not Supported for the Application ID.")
        with self._making:
            known = self.generations(ref)
            if ref.application_id in self._plan.policies or any(not generation.foreign for generation in known):
                raise KeyProblem(
                    "KER-KMS-015", "Upload of certificate will not be allowed to update other domain certificate."
                )
            current = self._current(ref)
            mark = thumbprint(certificate)
            if current is not None:
                if current.thumbprint == mark:
                    return
                self._replace(replace(current, expires_at=now))
            self._add(
                Generation(
                    alias=str(uuid.uuid4()),
                    ref=ref,
                    state=State.ACTIVE,
                    certificate=certificate,
                    uni_ident=identifiers.foreign_uni_ident(ref.application_id, ref.reference_id, mark),
                    issued_at=certificate.not_valid_before_utc,
                    expires_at=certificate.not_valid_after_utc,
                    thumbprint=mark,
                    held=None,
                )
            )

    def make_master(self, ref: KeyRef, subject: x509.Name | None, *, force: bool) -> Generation:
        """Return the current master, made now when there is none or when ``force`` asks for a new one.

        Raises KeyProblem: KER-KMS-010 for a reference that is no master's, 002 for an unknown application.
        """
        if ref.reference_id and ref != self._plan.sign:
            raise KeyProblem("KER-KMS-010", "Reference Id Not Supported for the Application ID.")
        if ref.application_id not in self._plan.policies:
            raise KeyProblem("KER-KMS-002", "ApplicationId not found in Key Policy. Key/CSR generation not allowed.")
        with self._making:
            current = self._current(ref)
            if current is not None:
                if not force:
                    return current
                self._retire(current)
            return self._generate(ref, self._now(), subject)

    def retire(self, ref: KeyRef) -> None:
        """End the new use of a base key or of another domain's certificate; what was encrypted to it still opens.

        Raises KeyProblem: KER-KMS-021 for a master, 003 when nothing is in use.
        """
        if _is_master(ref):
            raise KeyProblem("KER-KMS-021", "Key Revocation not allowed.")
        with self._making:
            current = self._current(ref)
            if current is None:
                raise KeyProblem("KER-KMS-003", "No unique alias is found")
            self._retire(current)

    def _retire(self, generation: Generation) -> None:
        self._replace(replace(generation, expires_at=self._now(), state=State.DECRYPT_ONLY))

    def signing_request(self, ref: KeyRef, subject: x509.Name | None) -> str:
        """Return a PKCS#10 request for the current key, by default with the subject of its certificate.

        Raises KeyProblem as ``current`` does, and KER-KMS-022 for a key that is not ours.
        """
        current = self.current(ref)
        if current.private is None:
            raise KeyProblem("KER-KMS-022", "CSR Generation not allowed for the provided App Id & Ref Id.")
        return certificates.signing_request(subject or current.certificate.subject, current.signing_key())

    def certify(self, ref: KeyRef, pem: str) -> None:
        """Give the current key a certificate that an outside authority issued for it; its dates are the key's.

        Raises KeyProblem: KER-PCM-001 for no certificate, KER-KMS-017 without a key, 015 for another domain's,
        014 for another key's certificate, 027 for the same one, 001 for one that is not valid now.
        """
        certificate = certificates.parse_pem(pem)
        mark = thumbprint(certificate)
        with self._making:
            current = self._current(ref)
            if current is None:
                raise KeyProblem("KER-KMS-017", "Certificate Not found in keystore table.")
            if current.foreign:
                raise KeyProblem(
                    "KER-KMS-015", "Upload of certificate will not be allowed to update other domain certificate."
                )
            if certificate.public_key() != current.certificate.public_key():
                raise KeyProblem("KER-KMS-014", "Certificate Key Not Matching with stored Key.")
            if mark == current.thumbprint:
                raise KeyProblem(
                    "KER-KMS-027",
                    "Upload of certificate will not be allowed, Current certificate thumbprint in DB matching with "
                    "input certificate thumbprint.",
                )
            certified = replace(
                current,
                certificate=certificate,
                issued_at=certificate.not_valid_before_utc,
                expires_at=certificate.not_valid_after_utc,
                thumbprint=mark,
                former=(*current.former, current.thumbprint),
            )
            if not certified.issued_at <= self._now() < certified.expires_at - self._pre_expiry(certified):
                raise KeyProblem("KER-KMS-001", "Certificate is not valid")
            self._replace(certified)

    def adopt(self, ref: KeyRef, private: rsa.RSAPrivateKey, certificate: x509.Certificate) -> Generation:
        """Take in a key of our own that was made elsewhere, with its certificate; it is the current one from now on.

        Raises KeyProblem: KER-KMS-002 unknown application, 010 a reference that is none, 016 a base key that may not
        be, 014 another key's certificate, KER-CRY-002 a key that is not RSA-2048, KER-PCM-004 one not valid now.
        """
        if ref.application_id not in self._plan.policies:
            raise KeyProblem("KER-KMS-002", "ApplicationId not found in Key Policy. Key/CSR generation not allowed.")
        master = _is_master(ref)
        if not master and ref.application_id in NO_BASE_KEYS:
            raise _not_allowed()
        if not master and not _REFERENCE.fullmatch(ref.reference_id):
            raise KeyProblem("KER-KMS-010", "Reference Id Not Supported for the Application ID.")
        if private.key_size != KEY_BITS:
            raise KeyProblem("KER-CRY-002", "public key is invalid")
        if certificate.public_key() != private.public_key():
            raise KeyProblem("KER-KMS-014", "Certificate Key Not Matching with stored Key.")
        now = self._now()
        alias = str(uuid.uuid4())
        with self._making:
            adopted = Generation(
                alias=alias,
                ref=ref,
                state=State.ACTIVE,
                certificate=certificate,
                uni_ident=self._free_uni_ident(ref, now),
                issued_at=certificate.not_valid_before_utc,
                expires_at=certificate.not_valid_after_utc,
                thumbprint=thumbprint(certificate),
                held=None,
            )
            if not adopted.issued_at <= now < adopted.expires_at - self._pre_expiry(adopted):
                raise KeyProblem("KER-PCM-004", "Certificate Dates are not valid.")
            current = self._current(ref)
            adopted = replace(adopted, held=self._vault.adopt_key(alias, private, master=master))
            if current is not None:
                self._retire(current)
            self._add(adopted)
        return adopted

    def rotate(self, ref: KeyRef) -> Generation:
        """Make a new generation now; the one before opens old data only. Raises KeyProblem as ``current`` does."""
        with self._making:
            now = self._now()
            current = self._current(ref)
            if current is not None:
                if current.foreign:
                    raise _not_allowed()
                self._replace(replace(current, expires_at=now, state=State.DECRYPT_ONLY))
            return self._successor(ref)

    def destroy(self, ref: KeyRef, wanted: bytes) -> None:
        """Erase a generation's private key: what was encrypted to it never opens again. Rotate first if it is current.

        Raises KeyProblem: KER-KMS-025 for an unknown thumbprint, 021 for the current generation.
        """
        with self._making:
            current = self._current(ref)
            for generation in self.generations(ref):
                if generation.thumbprint == wanted:
                    if generation == current:
                        raise KeyProblem("KER-KMS-021", "Key Revocation not allowed.")
                    self._replace(replace(generation, state=State.DESTROYED, held=None))
                    self._vault.erase_key(generation.alias)
                    return
        raise KeyProblem("KER-KMS-025", "Key Not found for the thumbprint prepended in encrypted data.")

    def issue_partner(self, leaf_pem: str, *, encipherment: bool) -> list[str]:
        """Return the PEMs of a partner's leaf re-signed by PMS, of PMS and of ROOT (section 10.3).

        One RSA private operation. Raises KeyProblem (KER-PCM-001, KER-CRY-002).
        """
        leaf = certificates.parse_pem(leaf_pem)
        issuer = self.current(KeyRef("PMS"))
        now = self._now()
        signed = certificates.issue(
            certificates.PARTNER if encipherment else certificates.PARTNER_SIGNING,
            certificates.partner_name(leaf.subject),
            rsa_key(leaf),
            issuer=issuer.certificate.subject,
            signing_key=issuer.signing_key(),
            not_before=now,
            not_after=now + PARTNER_VALIDITY,
        )
        chain = (signed, issuer.certificate, self._issuer_of(issuer).certificate)
        return [certificates.pem(certificate) for certificate in chain]

    def _now(self) -> datetime:
        return self._clock.now().replace(microsecond=0)

    def _current(self, ref: KeyRef) -> Generation | None:
        now = self._clock.now()
        found = [
            generation
            for generation in self.generations(ref)
            if generation.state is State.ACTIVE
            and generation.issued_at <= now < generation.expires_at - self._pre_expiry(generation)
        ]
        if len(found) > 1:
            raise KeyProblem("KER-KMS-003", "No unique alias is found")
        return found[0] if found else None

    def _pre_expiry(self, generation: Generation) -> timedelta:
        if generation.ref.application_id not in self._plan.policies:
            return timedelta(0)
        if _is_master(generation.ref):
            return self._plan.policies[generation.ref.application_id].pre_expiry
        return BASE.pre_expiry

    def _successor(self, ref: KeyRef) -> Generation:
        older = self.generations(ref)
        master = _is_master(ref)
        if not master and (ref.application_id in NO_BASE_KEYS or any(generation.foreign for generation in older)):
            raise _not_allowed()
        if ref.application_id not in self._plan.policies:
            raise KeyProblem("KER-KMS-002", "ApplicationId not found in Key Policy. Key/CSR generation not allowed.")
        if master and not older:
            raise _not_generated()
        if not master and not _REFERENCE.fullmatch(ref.reference_id):
            raise KeyProblem("KER-KMS-010", "Reference Id Not Supported for the Application ID.")
        return self._generate(ref, self._now())

    def _generate(self, ref: KeyRef, now: datetime, subject: x509.Name | None = None) -> Generation:
        alias = str(uuid.uuid4())
        held = self._vault.make_key(alias, master=_is_master(ref))
        faults.point("keys.generated")
        validity = (self._plan.policies[ref.application_id] if _is_master(ref) else BASE).validity
        name, profile, issuer = self._certification(ref, now)
        subject = subject or name
        certificate = certificates.issue(
            profile,
            subject,
            held.private.public_key(),
            issuer=issuer.certificate.subject if issuer else subject,
            signing_key=issuer.signing_key() if issuer else held.private,
            not_before=now,
            not_after=now + validity,
        )
        generation = Generation(
            alias=alias,
            ref=ref,
            state=State.ACTIVE,
            certificate=certificate,
            uni_ident=self._free_uni_ident(ref, now),
            issued_at=now,
            expires_at=now + validity,
            thumbprint=thumbprint(certificate),
            held=held,
        )
        self._add(generation)
        return generation

    def _certification(self, ref: KeyRef, now: datetime) -> tuple[x509.Name, certificates.Profile, Generation | None]:
        older = self.generations(ref)
        if not _is_master(ref):
            issuer = self._renewed(KeyRef(ref.application_id), now)
            name = certificates.base_name(ref.application_id, ref.reference_id, issuer.certificate.subject)
            return name, certificates.BASE, issuer
        name = older[0].certificate.subject if older else certificates.module_name(ref.application_id, ref.reference_id)
        if ref == ROOT:
            return name, certificates.ROOT, None
        return name, certificates.MASTER, self._renewed(ROOT, now)

    def _renewed(self, ref: KeyRef, now: datetime) -> Generation:
        """Return the current master while the lock is held."""
        found = self._current(ref)
        if found is not None:
            return found
        if not self.generations(ref):
            raise _not_generated()
        return self._generate(ref, now)

    def _issuer_of(self, generation: Generation) -> Generation:
        for root in self.generations(ROOT):
            try:
                generation.certificate.verify_directly_issued_by(root.certificate)
            except (InvalidSignature, ValueError, TypeError):
                continue
            return root
        raise KeyProblem("KER-KMS-011", "Root Key not available to sign.")

    def _free_uni_ident(self, ref: KeyRef, now: datetime) -> str:
        """Return the reference's name of the generation, with a random part after the first of the day (no. 10)."""
        name = identifiers.uni_ident(ref.application_id, ref.reference_id, now.date())
        if all(generation.uni_ident != name for generation in self.generations(ref)):
            return name
        suffixed = f"{ref.reference_id}_{secrets.token_hex(8)}"
        return identifiers.uni_ident(ref.application_id, suffixed, now.date())

    def _add(self, generation: Generation) -> None:
        self._save(generation)
        self._remember(generation)

    def _replace(self, generation: Generation) -> None:
        self._save(generation)
        others = (other for other in self.generations(generation.ref) if other.alias != generation.alias)
        self._generations[generation.ref] = _newest_first((generation, *others))

    def _remember(self, generation: Generation) -> None:
        self._generations[generation.ref] = _newest_first((generation, *self.generations(generation.ref)))

    def _save(self, generation: Generation) -> None:
        body = _Body(
            certificate=certificates.der(generation.certificate),
            uni_ident=generation.uni_ident,
            issued_at=generation.issued_at,
            expires_at=generation.expires_at,
            kept=None if generation.held is None else generation.held.kept,
            former=generation.former,
        )
        self._store.write(
            Record(
                f"{_PREFIX}{generation.alias}",
                msgspec.msgpack.encode(body),
                generation.ref.application_id,
                generation.ref.reference_id,
                generation.state,
            )
        )

    def _loaded(self, record: Record) -> Generation:
        body = msgspec.msgpack.decode(record.body, type=_Body)
        ref = KeyRef(record.application, record.reference)
        alias = record.name.removeprefix(_PREFIX)
        certificate = certificates.parse_der(body.certificate)
        held = None
        if body.kept is not None:
            private = self._vault.load_key(alias, body.kept, rsa_key(certificate), master=_is_master(ref))
            held = HeldKey(private, body.kept)
        return Generation(
            alias=alias,
            ref=ref,
            state=State(record.state),
            certificate=certificate,
            uni_ident=body.uni_ident,
            issued_at=body.issued_at,
            expires_at=body.expires_at,
            thumbprint=thumbprint(certificate),
            held=held,
            former=body.former,
        )


def _is_master(ref: KeyRef) -> bool:
    return ref.reference_id in {"", SIGN}


def _newest_first(generations: Iterable[Generation]) -> tuple[Generation, ...]:
    return tuple(sorted(generations, key=lambda generation: generation.issued_at, reverse=True))


def _not_generated() -> KeyProblem:
    return KeyProblem("KER-KMS-012", "Key Generation Process is not completed.")


def _not_allowed() -> KeyProblem:
    return KeyProblem(
        "KER-KMS-016",
        "Not allowed to generate new key pair for other domains or not allowed to generate base key.",
    )
