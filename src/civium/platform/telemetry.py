"""Structured logs without personal data, correlation ids, and metrics with fixed label sets.

A log line is JSON with an allow-list of keys: a key that is not listed is dropped, and a value that looks like an
identifier (a long run of digits) is masked. Each line ends with ``sum``, a checksum over the rest, so that a second
program can tell lines that were edited or cut.
"""

import logging
import re
import sys
import zlib
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog
from prometheus_client import Counter, Histogram

from civium.kernel.encoding import canonical_json
from civium.kernel.secrets import Sensitive

correlation: ContextVar[str | None] = ContextVar("correlation", default=None)

REQUESTS = Counter("civium_requests_total", "Requests answered", ["method", "route", "status"])
SECONDS = Histogram("civium_request_seconds", "Seconds from request to answer", ["route"])

ALLOWED_KEYS = frozenset(
    {
        "added", "application", "attempt", "attempts", "channel", "child", "code", "consumer", "context",
        "correlation", "count", "error", "event", "event_id", "exit", "frames", "job", "level", "logger", "method",
        "milliseconds", "operation", "outcome", "part", "path", "pid", "port", "process", "reason", "reference",
        "restart_seconds", "retry_seconds", "route", "schema", "seconds", "signal", "size", "socket", "stage",
        "status", "template", "timestamp", "topic", "uid", "version", "workflow",
    }
)  # fmt: skip
_DIGITS = re.compile(r"\d{9,}")
_FRAMES = 12

Line = MutableMapping[str, Any]


def _only_allowed(_logger: object, _method: str, line: Line) -> Line:
    return {key: _masked(value) for key, value in line.items() if key in ALLOWED_KEYS}


def _masked(value: object) -> object:
    match value:
        case Sensitive():
            return str(value)
        case str():
            return _DIGITS.sub("<digits>", value)
        case bool() | int() | float() | None:
            return value
        case list():
            return [_masked(item) for item in value]
    return type(value).__name__


def _where(_logger: object, _method: str, line: Line) -> Line:
    """Replace an exception by its class and code places: its text may hold data of the request."""
    problem = line.pop("exc_info", None)
    if problem is True:
        problem = sys.exc_info()[1]
    if isinstance(problem, BaseException):
        frames: list[str] = []
        trace = problem.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            frames.append(f"{code.co_filename.rpartition('/')[2]}:{code.co_name}:{trace.tb_lineno}")
            trace = trace.tb_next
        line["error"] = type(problem).__name__
        line["frames"] = frames[-_FRAMES:]
    return line


def _with_correlation(_logger: object, _method: str, line: Line) -> Line:
    if (current := correlation.get()) is not None:
        line["correlation"] = current
    return line


def _sealed_line(_logger: object, _method: str, line: Line) -> str:
    body = canonical_json(dict(line)).decode()
    return f'{body[:-1]},"sum":"{zlib.crc32(body.encode()):08x}"}}'


def configure(level: str) -> None:
    """Send every log line of this process to stderr as checked JSON; libraries log warnings and above."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _with_correlation,
            _where,
            _only_allowed,
            _sealed_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryHandler()], force=True)


class _LibraryHandler(logging.Handler):
    """Logs of libraries: where they come from and how bad, never their text, which may quote data."""

    def emit(self, record: logging.LogRecord) -> None:
        problem = record.exc_info[1] if record.exc_info else None
        structlog.get_logger().log(
            record.levelno, "library", reason=f"{record.name}:{record.lineno}", exc_info=problem or False
        )
