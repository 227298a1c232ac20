"""Rule ``log``: no personal data, identifier or secret in a log call.

Decidable: names. A keyword, and any name, attribute or call in a value, whose words include a forbidden one; any
``reveal()``; a formatted event. Not decidable: what a harmless name holds, hence the allow-list of keys and the
masking of digits in ``platform/telemetry.py``.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tools.lint.source import Finding, Source, finding

METHODS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log", "msg"})
PERSONAL: Final = frozenset(
    {
        "uin", "vid", "rid", "prid", "aid", "otp", "handle", "individual", "email", "mail", "phone", "mobile",
        "address", "birth", "gender", "demographics", "biometrics", "person", "photo",
        "password", "passphrase", "secret", "token", "cookie", "authorization", "licence", "license", "body", "payload",
    }
)  # fmt: skip
KEYWORDS_ONLY: Final = frozenset({"name", "names", "subject", "user"})
"""Words that are personal as the key of a log line, though objects of ours have a ``name`` that is not."""
_LOGGER = re.compile(r"_?(log|logger)")


def log(source: Source) -> Iterator[Finding]:
    """Find log calls that name what must not be logged."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _is_log_call(source, node):
            yield from _in_call(source, node)


def _is_log_call(source: Source, call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name), attr=method):
            return method in METHODS and _LOGGER.fullmatch(name) is not None
        case ast.Attribute(value=ast.Call(func=made), attr=method):
            return method in METHODS and source.meaning(made) in {"structlog.get_logger", "logging.getLogger"}
    return False


def _in_call(source: Source, call: ast.Call) -> Iterator[Finding]:
    for argument in call.args:
        if isinstance(argument, ast.JoinedStr | ast.BinOp):
            yield finding(source, argument, "log", "a formatted event: name the event, give values as keywords")
    for keyword in call.keywords:
        if words := _words(keyword.arg or "") & (PERSONAL | KEYWORDS_ONLY):
            yield finding(source, keyword.value, "log", f"key {keyword.arg!r} names {', '.join(sorted(words))}")
    for value in [*call.args, *(keyword.value for keyword in call.keywords)]:
        for node in ast.walk(value):
            name = _name(node)
            if name == "reveal":
                yield finding(source, node, "log", "reveal() in a log call")
            elif words := _words(name) & PERSONAL:
                yield finding(source, node, "log", f"value {name!r} names {', '.join(sorted(words))}")


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _words(name: str) -> set[str]:
    return set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_"))
