"""Checks of the envelope that every request of the ID repository passes (section 1.2, numbers 1 to 3)."""

import re
from datetime import datetime, timedelta
from typing import Any

from civium.identity.domain import invalid, missing
from civium.kernel.clock import Clock, parse_instant
from civium.kernel.errors import Rejected, RejectedMany
from civium.kernel.identifiers import UIN, InvalidIdentifier
from civium.platform.http import ErrorCodes, RequestEnvelope

CODES = ErrorCodes(
    "IDR-IDC-003", "IDR-IDC-004", invalid_message="Invalid Request", internal_message="Unknown error occurred"
)
MAX_DEVIATION = timedelta(seconds=60)
FUTURE_ADJUSTMENT = timedelta(seconds=2)

_VERSION = re.compile(r"v\d+(\.\d+)?")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")


def check_envelope(envelope: RequestEnvelope[Any], operation: str, clock: Clock) -> list[Rejected]:
    """Return the problems of time and version, in the order of the wire; raises Rejected when the id is wrong."""
    if not envelope.id:
        raise missing("id")
    if envelope.id != operation:
        raise invalid("id")
    problems = _time_problems(envelope.requesttime, clock.now())
    if problems:
        return problems
    if not envelope.version:
        return [missing("version")]
    return [] if _VERSION.fullmatch(envelope.version) else [invalid("version")]


def _time_problems(text: str | None, now: datetime) -> list[Rejected]:
    if not text:
        return [missing("requesttime")]
    at = instant(text)
    if at is None:
        return [invalid("requesttime")]
    if now - MAX_DEVIATION <= at <= now + MAX_DEVIATION + FUTURE_ADJUSTMENT:
        return []
    return [invalid("requesttime - the timestamp value can be at most 60 seconds before and after the current time.")]


def instant(text: str) -> datetime | None:
    """Return the instant in the wire's one format, or None."""
    if not _INSTANT.fullmatch(text):
        return None
    try:
        return parse_instant(text)
    except ValueError:
        return None


def uin_of(text: object, parameter: str) -> UIN:
    """Return a UIN given by a caller; raises Rejected IDR-IDC-001 or -002 naming the parameter."""
    if text is None or text == "":
        raise missing(parameter)
    if not isinstance(text, str):
        raise invalid(parameter)
    try:
        return UIN.parse(text)
    except InvalidIdentifier:
        raise invalid(parameter) from None


def raise_all(problems: list[Rejected]) -> None:
    """Raise RejectedMany if there is any problem."""
    if problems:
        raise RejectedMany(problems)
