"""Requests and answers of the relying parties' endpoints (id-authentication sections 2 and 3)."""

from typing import TypeVar

import msgspec

from civium.authentication.api import Usage
from civium.authentication.errors import NOT_PROCESSED
from civium.kernel.errors import Rejected
from civium.platform.http.limits import JsonTooDeep, check_depth

VERSION = "1.0"

T = TypeVar("T")


class RequestBody(msgspec.Struct, frozen=True, rename="camel"):
    """The clear part of a request. Members that are not named here (``metadata``, ``requestedAuth``) are ignored."""

    id: str | None = None
    version: str | None = None
    individual_id: str | None = None
    individual_id_type: str | None = None
    transaction_id: str | None = msgspec.field(name="transactionID", default=None)
    request_time: str | None = None
    thumbprint: str | None = None
    domain_uri: str | None = None
    env: str | None = None
    consent_obtained: bool | None = None
    request: str | None = None
    request_hmac: str | None = msgspec.field(name="requestHMAC", default=None)
    request_session_key: str | None = None
    otp_channel: list[str | None] | None = None


class LanguageValue(msgspec.Struct, frozen=True):
    """One item of a demographic attribute that is given per language."""

    language: str | None = None
    value: str | None = None


DemographicValue = str | int | list[LanguageValue] | dict[str, str | int | list[LanguageValue] | None] | None


class Segment(msgspec.Struct, frozen=True):
    """What is looked at of a biometric segment: that its signed ``data`` is a text."""

    data: str | dict[str, msgspec.Raw] | None = None


class AuthBlock(msgspec.Struct, frozen=True, rename="camel"):
    """The decrypted ``request``: the factors."""

    timestamp: str | None = None
    otp: str | None = None
    static_pin: str | None = None
    demographics: dict[str, DemographicValue] | None = None
    biometrics: list[Segment] | None = None


class ErrorItem(msgspec.Struct, frozen=True):
    """A member of ``errors``; ``actionMessage`` is there only for codes that have one."""

    errorCode: str  # noqa: N815 - the wire's member
    errorMessage: str  # noqa: N815
    actionMessage: str | msgspec.UnsetType = msgspec.UNSET  # noqa: N815


class AuthAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """``response`` of auth."""

    auth_status: bool = False
    auth_token: str | None = None


class KycAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """``response`` of kyc."""

    kyc_status: bool = False
    auth_token: str | None = None
    thumbprint: str | None = None
    identity: str | None = None
    session_key: str | None = None


class OtpAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """``response`` of otp."""

    masked_mobile: str | None = None
    masked_email: str | None = None


Answer = AuthAnswer | KycAnswer | OtpAnswer


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """Every answer. Null members are written."""

    transaction_id: str | None = msgspec.field(name="transactionID")
    version: str
    id: str
    errors: list[ErrorItem] | None
    response_time: str
    response: Answer | None


FAILED: dict[Usage, Answer | None] = {Usage.AUTH: AuthAnswer(), Usage.KYC: KycAnswer(), Usage.OTP: None}
"""``response`` next to errors (section 2.3)."""

_body = msgspec.json.Decoder(RequestBody)
_block = msgspec.json.Decoder(AuthBlock)
_encoder = msgspec.json.Encoder()


def read_body(body: bytes, max_depth: int) -> RequestBody:
    """Return the request's clear part; raises IDA-MLC-007 for what is no JSON object of the right types, or empty."""
    read = _read(_body, body, max_depth)
    if read == RequestBody():
        raise NOT_PROCESSED.of()
    return read


def read_block(clear: bytes, max_depth: int) -> AuthBlock:
    """Return the factors; raises IDA-MLC-007."""
    return _read(_block, clear, max_depth)


def _read(decoder: msgspec.json.Decoder[T], text: bytes, max_depth: int) -> T:
    try:
        check_depth(text, max_depth)
        return decoder.decode(text)
    except (JsonTooDeep, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NOT_PROCESSED.of() from None


def write(
    usage: Usage,
    *,
    transaction_id: str | None,
    at: str,
    response: Answer | None,
    errors: list[Rejected] | None = None,
) -> bytes:
    """Return the bytes of an answer: what is sent and signed."""
    items = [
        ErrorItem(error.code, error.message, error.action if error.action is not None else msgspec.UNSET)
        for error in errors or ()
    ]
    return _encoder.encode(Envelope(transaction_id, VERSION, usage.value, items or None, at, response))
