"""Post-quantum hybrid keys of one security context, each beside the RSA key of the same (application, reference).

They open what our own components send each other (:mod:`civium.keys.formats.hybrid_pq`). Tokens do not know ML-KEM
yet: the private parts are sealed under a symmetric master, which a token may hold, and open in the key process.
"""

from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Final

import msgspec

from civium.kernel.clock import Clock
from civium.keys.api import DecryptionFailed, KeyRef
from civium.keys.formats.hybrid_pq import HybridPrivateKey, key_id
from civium.keys.keystore import Keystore, Record
from civium.keys.plan import BASE
from civium.keys.secretbox import HYBRID_KEYS, SecretBox

_PREFIX: Final = "pq-"
_LABEL: Final = "hybrid"


@dataclass(frozen=True, slots=True)
class HybridKey:
    """One generation. Another domain's key has no private part; it stands beside one RSA certificate of theirs."""

    id: bytes
    public: bytes
    made_at: datetime
    private: HybridPrivateKey | None = field(repr=False)
    beside: bytes = b""


class _Body(msgspec.Struct, frozen=True, array_like=True):
    public: bytes
    made_at: datetime
    kept: bytes | None
    beside: bytes


class HybridKeys:
    """The hybrid keys of one keystore."""

    def __init__(self, store: Keystore, box: SecretBox, clock: Clock) -> None:
        """Read the keys; raises IntegrityError when a file was changed."""
        self._store = store
        self._box = box
        self._clock = clock
        self._making = Lock()
        self._keys: dict[KeyRef, tuple[HybridKey, ...]] = {}
        for record in store.records(_PREFIX):
            self._load(record)

    def current(self, ref: KeyRef) -> HybridKey:
        """Return the key for new use, made when there is none or the newest is as old as a base key may become."""
        with self._making:
            found = self._keys.get(ref, ())
            if found and self._clock.now() < found[0].made_at + BASE.validity - BASE.pre_expiry:
                return found[0]
            private = HybridPrivateKey.generate()
            public = private.public()
            name = key_id(public)
            kept = self._box.wrap(HYBRID_KEYS, _LABEL, private.to_bytes(), name)
            key = HybridKey(name, public, self._clock.now(), private)
            self._save(ref, key, kept)
            return key

    def holder(self, ref: KeyRef, wanted: bytes) -> HybridPrivateKey:
        """Return the private key with this id, of any age; raises DecryptionFailed."""
        for key in self._keys.get(ref, ()):
            if key.id == wanted and key.private is not None:
                return key.private
        raise DecryptionFailed("no key for this envelope")

    def install(self, ref: KeyRef, public: bytes, beside: bytes) -> None:
        """Take in the public key that another domain has beside the certificate of this thumbprint."""
        with self._making:
            known = self._keys.get(ref, ())
            if not known or (known[0].public, known[0].beside) != (public, beside):
                self._save(ref, HybridKey(key_id(public), public, self._clock.now(), None, beside), None)

    def offered(self, ref: KeyRef, beside: bytes) -> HybridKey | None:
        """Return the key that a domain offers beside its certificate of this thumbprint, None when it offers none."""
        known = self._keys.get(ref, ())
        return known[0] if known and known[0].beside == beside else None

    def _save(self, ref: KeyRef, key: HybridKey, kept: bytes | None) -> None:
        body = msgspec.msgpack.encode(_Body(key.public, key.made_at, kept, key.beside))
        name = f"{_PREFIX}{key.id[:16].hex()}"
        self._store.write(Record(name, body, ref.application_id, ref.reference_id))
        self._remember(ref, key)

    def _load(self, record: Record) -> None:
        body = msgspec.msgpack.decode(record.body, type=_Body)
        name = key_id(body.public)
        private = None
        if body.kept is not None:
            private = HybridPrivateKey.from_bytes(self._box.unwrap(HYBRID_KEYS, _LABEL, body.kept, name))
        ref = KeyRef(record.application, record.reference)
        self._remember(ref, HybridKey(name, body.public, body.made_at, private, body.beside))

    def _remember(self, ref: KeyRef, key: HybridKey) -> None:
        others = (other for other in self._keys.get(ref, ()) if other.id != key.id)
        self._keys[ref] = tuple(sorted((key, *others), key=lambda each: each.made_at, reverse=True))
