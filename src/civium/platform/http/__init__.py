"""The HTTP edge: guarded routes in the wire's envelope, limits, security headers, correlation ids."""

from civium.platform.http.access import ANYONE, SANDBOX, SIGNED, Access, Caller, CallerKind, TokenVerifier, allow
from civium.platform.http.envelope import Count, Flag, RequestEnvelope, WireModel
from civium.platform.http.routing import CallerParameter, Declaration, ErrorCodes, ResponseSigner, Router

__all__ = [
    "ANYONE",
    "SANDBOX",
    "SIGNED",
    "Access",
    "Caller",
    "CallerKind",
    "CallerParameter",
    "Count",
    "Declaration",
    "ErrorCodes",
    "Flag",
    "RequestEnvelope",
    "ResponseSigner",
    "Router",
    "TokenVerifier",
    "WireModel",
    "allow",
]
