"""What a payload is for, told from its members (section 13 no. 4).

KERNEL:SIGN signs for many services. Two kinds of payload are orders to registration machines once it has signed them:
an answer of a service (``response-signature``) and the hash of a file (``file-signature``). They are kept from those
who only sign data.
"""

import json
from typing import Any, Final

from civium.keys.api import KeyProblem

_ANSWER: Final = frozenset({"responsetime", "response"})
_FILE: Final = frozenset({"hash"})


def is_reserved(payload: bytes) -> bool:
    """Tell whether a payload is an answer of a service or a file's hash. One parse of JSON."""
    members = _members(payload)
    return members is not None and (members.keys() >= _ANSWER or members.keys() == _FILE)


def check_json(payload: bytes) -> None:
    """Raise KeyProblem (KER-JWS-103) unless the payload is JSON."""
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        raise KeyProblem("KER-JWS-103", "Data to sign is not valid JSON.") from None


def is_json_object(text: bytes) -> bool:
    """Tell whether bytes are a JSON object."""
    return _members(text) is not None


def _members(payload: bytes) -> dict[str, Any] | None:
    if payload.lstrip()[:1] != b"{":
        return None
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
