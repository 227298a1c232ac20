"""Rule ``secret-compare``: secrets are compared by ``hmac.compare_digest`` or by the types of ``kernel.secrets``.

Decidable: names. The ``==`` of :class:`civium.kernel.secrets.Sensitive` takes constant time, so a
variable that holds one may be compared; name it without the words below, or escape with the reason.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tools.lint.source import Finding, Source, finding

SECRET: Final = frozenset(
    {
        "otp",
        "password",
        "passphrase",
        "secret",
        "apikey",
        "licencekey",
        "licensekey",
        "signature",
        "hmac",
        "mac",
    }
)
_PAIRS: Final = re.compile(r"(api|licen[cs]e)_key")


def secret_compare(source: Source) -> Iterator[Finding]:
    """Find ``==`` and ``!=`` with a secret on either side."""
    for node in ast.walk(source.tree):
        match node:
            case ast.Compare(left=left, ops=operators, comparators=rest):
                for operator, one, other in zip(operators, [left, *rest], rest, strict=False):
                    if isinstance(operator, ast.Eq | ast.NotEq) and not (_harmless(one) or _harmless(other)):
                        for side in (one, other):
                            if why := _secret(side):
                                yield finding(source, node, "secret-compare", f"{why}: use hmac.compare_digest")


def _harmless(node: ast.expr) -> bool:
    """Whether a comparison with this tells nothing: a number, None, a truth value or the empty string."""
    return isinstance(node, ast.Constant) and not (isinstance(node.value, str | bytes) and node.value)


def _secret(node: ast.expr) -> str:
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr="reveal" | "encode" | "decode" | "hexdigest" | "digest")):
            return _secret(value)
        case ast.Subscript(value=value):
            return _secret(value)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            words = _PAIRS.sub(r"\1key", name.lower()).split("_")
            # Only the last word says what the thing is: `otp_type` is no OTP.
            return name if words[-1] in SECRET else ""
    return ""
