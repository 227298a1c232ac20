"""What may be signed with a module's key, by the form of the bytes (keys-and-crypto section 13 no. 4 and 8).

A master certifies base keys and signs data with one key. So that no caller gets a certificate, a signing request, a
revocation list or another form's signature out of a data signature, each form admits bytes that no other admits.
"""

import base64
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
_NO_BASE64: Final = re.compile(rb"[^A-Za-z0-9_+/-]")
_SKIPPED: Final = b" \t\r\n\x00\xef\xbb\xbf"
"""What readers of JSON skip in front: white space, a byte order mark."""
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
    if _JOSE.match(data):
        return "jose"
    return None if _may_be_token(data) else "raw"


def _may_be_token(data: bytes) -> bool:
    """Tell whether some reader could take bytes for a JWS: its header is JSON, which may begin with white space."""
    head, dot, _ = data.partition(b".")
    text = _NO_BASE64.sub(b"", head)
    header = base64.urlsafe_b64decode(text[: len(text) // 4 * 4].replace(b"+", b"-").replace(b"/", b"_"))
    return bool(dot) and header.lstrip(_SKIPPED)[:1] == b"{"
