"""What may be signed with a module's key, by the form of the bytes (keys-and-crypto section 13 no. 4 and 8).

A master certifies base keys and signs data with one key. So that no caller gets a certificate, a signing request, a
revocation list or another form's signature out of a data signature, each form admits bytes that no other admits.
"""

import re
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from civium.keys.errors import KeyProblem

PADDINGS: Final[Mapping[str, padding.AsymmetricPadding]] = {
    "RS256": padding.PKCS1v15(),
    "PS256": padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32),
}
"""RSA padding by the name of the algorithm; all with SHA-256."""

_JOSE: Final = re.compile(rb"e[wy][A-Za-z0-9_-]{6,}\.")
_DER_SEQUENCE, _DER_SET = 0x30, 0x31


def check_form(form: str, data: bytes) -> None:
    """Let bytes pass that are of the form ``jose``, ``cms`` or ``raw``; raises KeyProblem (KER-JWS-108)."""
    if form_of(data) != form:
        raise KeyProblem("KER-JWS-108", "Signing data not allowed for the authenticated token.")


def form_of(data: bytes) -> str | None:
    """Return the one form that bytes have, None when they may not be signed at all."""
    if not data or data[0] == _DER_SEQUENCE:
        return None
    if data[0] == _DER_SET:
        return "cms"
    return "jose" if _JOSE.match(data) else "raw"
