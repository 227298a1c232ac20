"""Base58 with the alphabet of Bitcoin, as multibase names ``z`` (keys-and-crypto section 6.5)."""

from typing import Final

_ALPHABET: Final = "123456789" + "ABCDEFGHJKLMNPQRSTUVWXYZ" + "abcdefghijkmnopqrstuvwxyz"


def base58(data: bytes) -> str:
    """Return the encoding; a zero byte in front is a ``1``."""
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\x00"))) + digits
