"""The key ceremony: new keystores in two hands, and a signed record of it.

Both hierarchies are made under two custodians' passphrases, or in a token; the record tells when, by whom, and with
which fingerprints.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from civium.kernel.clock import Clock, iso_millis
from civium.kernel.errors import CiviumError
from civium.keys.api import KERNEL_SIGN
from civium.keys.keystore import KeystoreClosed, write_whole
from civium.keys.opening import Unsealing
from civium.keys.operations import Keystores
from civium.keys.protocol import Sign
from civium.keys.root import kind

MIN_PASSPHRASE: Final = 12
MIN_PARTICIPANTS: Final = 2
RECORD_FILE: Final = "ceremony.json"
SIGNATURE_FILE: Final = "ceremony.jws"


class Fingerprint(msgspec.Struct, frozen=True, rename="camel"):
    """SHA-256 over a certificate of the ceremony."""

    context: str
    application_id: str
    reference_id: str
    sha256: str


class CeremonyRecord(msgspec.Struct, frozen=True, rename="camel"):
    """What happened, as the record says it."""

    at: str
    participants: tuple[str, ...]
    control: str
    fingerprints: tuple[Fingerprint, ...]


@dataclass(frozen=True, slots=True)
class Ceremony:
    """The record as it was written, and the detached JWS of KERNEL:SIGN over exactly those bytes."""

    record: CeremonyRecord
    content: bytes
    signature: str


def hold(home: Path, how: Unsealing, participants: Sequence[str], *, zk_pool_size: int, clock: Clock) -> Ceremony:
    """Make the keystores under ``home`` and write the signed record beside them.

    Raises CiviumError when there are keystores already, or control is not in two hands.
    """
    if kind(home) is not None:
        raise KeystoreClosed(f"{home} holds keystores already: a ceremony makes new ones only")
    if len({name.strip() for name in participants if name.strip()}) < MIN_PARTICIPANTS:
        raise CiviumError("a ceremony has at least two participants")
    if how.token is None:
        _check_passphrases(how)
    with Keystores(home, how, zk_pool_size=zk_pool_size, clock=clock) as stores:
        record = CeremonyRecord(
            at=iso_millis(clock.now()),
            participants=tuple(participants),
            control="token" if how.token is not None else "two passphrases",
            fingerprints=tuple(_fingerprints(stores)),
        )
        content = msgspec.json.format(msgspec.json.encode(record))
        call = Sign(
            KERNEL_SIGN.application_id,
            KERNEL_SIGN.reference_id,
            content,
            include_payload=False,
            include_certificate=True,
            include_certificate_hash=True,
        )
        signature = stores.core.perform(call)
        assert isinstance(signature, str)
    write_whole(home / RECORD_FILE, content)
    write_whole(home / SIGNATURE_FILE, signature.encode())
    return Ceremony(record, content, signature)


def _fingerprints(stores: Keystores) -> Iterator[Fingerprint]:
    for context, operations in (("core", stores.core), ("auth", stores.auth)):
        for generation in operations.hierarchy.all_generations():
            if not generation.foreign:
                ref = generation.ref
                mark = generation.thumbprint.hex()
                yield Fingerprint(context, ref.application_id, ref.reference_id, mark)


def _check_passphrases(how: Unsealing) -> None:
    for passphrase in (how.passphrase, how.second_passphrase):
        if passphrase is None:
            raise CiviumError("a ceremony without a token needs the passphrases of two custodians")
        if len(passphrase.reveal()) < MIN_PASSPHRASE:
            raise CiviumError(f"a custodian's passphrase has at least {MIN_PASSPHRASE} characters")
