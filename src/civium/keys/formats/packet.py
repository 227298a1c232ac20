"""The registration packet's cipher form ``nonce12 ‖ AAD32 ‖ envelope`` (keys-and-crypto section 4.6).

Sub-packets, the outer packet and the sync request share it.
"""

import secrets
from dataclasses import dataclass, field

from cryptography import x509

from civium.keys.formats import envelope
from civium.keys.formats.primitives import AAD_SIZE, NONCE_SIZE

PREFIX_SIZE = NONCE_SIZE + AAD_SIZE


@dataclass(frozen=True, slots=True)
class SealedPacket:
    """The parts of an encrypted packet: ``Keys.decrypt(ref, envelope, salt=nonce, aad=aad)`` opens it."""

    nonce: bytes
    aad: bytes
    envelope: bytes = field(repr=False)


def encrypt(certificate: x509.Certificate, clear: bytes) -> bytes:
    """Return the encrypted packet for the key of centre and machine. One AES pass, one copy of the data."""
    nonce, aad = secrets.token_bytes(NONCE_SIZE), secrets.token_bytes(AAD_SIZE)
    return nonce + aad + envelope.encrypt(certificate, clear, salt=nonce, aad=aad)


def split(packet: bytes) -> SealedPacket:
    """Return the parts of an encrypted packet; raises DecryptionFailed when it is none."""
    inner = packet[PREFIX_SIZE:]
    envelope.split(inner[: envelope.MIN_SIZE])
    return SealedPacket(packet[:NONCE_SIZE], packet[NONCE_SIZE:PREFIX_SIZE], inner)
