"""Signatures: of web tokens, of bytes, of documents, and their verification (section 7.4)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from pydantic import Field

from civium.kernel.clock import parse_instant
from civium.kernel.encoding import b64u
from civium.keys.api import (
    KERNEL_SIGN,
    KeyAdministration,
    KeyProblem,
    KeyRef,
    SignatureAlgorithm,
    SignatureInvalid,
    jws,
)
from civium.keys.formats.base58 import base58
from civium.keys.http import payloads, pdf
from civium.keys.http.access import ApplicationAccess
from civium.keys.http.life_cycle import chain_of
from civium.keys.http.router import (
    ApplicationId,
    Instant,
    KeyRouter,
    Mandatory,
    OptionalApplicationId,
    OptionalReferenceId,
    Pem,
    ReferenceId,
    blank,
    decoded,
)
from civium.keys.http.signer import JwsOptions, Signer, signing_ref
from civium.keys.http.uses import UseLog
from civium.keys.http.verifier import Claim, Verifier
from civium.platform.http import Caller, CallerParameter, RequestEnvelope, WireModel, allow
from civium.platform.permissions import Permission

VALID: Final = "Validation Successful"
FAILED: Final = "Validation Failed"
DOCUMENTS_AT_ONCE: Final = 2
"""Documents that one process signs at the same time."""

Answer = dict[str, object]


class Text(WireModel):
    """Body of sign."""

    data: Mandatory


class SignedText(Text):
    """Body of validate."""

    signature: Mandatory
    timestamp: Instant


class _Key(WireModel):
    application_id: OptionalApplicationId = Field(default=None, alias="applicationId")
    reference_id: OptionalReferenceId = Field(default=None, alias="referenceId")

    @property
    def ref(self) -> KeyRef:
        return signing_ref(self.application_id, self.reference_id)

    @property
    def named(self) -> KeyRef:
        """The key as the request names it, for the audit of refusals."""
        if self.application_id is None or blank(self.application_id):
            return KERNEL_SIGN
        return KeyRef(self.application_id.strip(), (self.reference_id or "").strip())


class Payload(_Key):
    """Body of jwtSign."""

    data: Mandatory = Field(alias="dataToSign")
    include_payload: bool | None = Field(default=None, alias="includePayload")
    include_certificate: bool | None = Field(default=None, alias="includeCertificate")
    include_certificate_hash: bool | None = Field(default=None, alias="includeCertHash")
    certificate_url: str | None = Field(default=None, alias="certificateUrl", max_length=2048)

    def options(self) -> JwsOptions:
        """Return how to sign."""
        return JwsOptions(
            include_payload=bool(self.include_payload),
            include_certificate=bool(self.include_certificate),
            include_certificate_hash=bool(self.include_certificate_hash),
            certificate_url=None if blank(self.certificate_url) else self.certificate_url,
        )


class _Version2(Payload):
    include_chain: bool | None = Field(default=None, alias="includeCertificateChain")
    additional: dict[str, Any] | None = Field(default=None, alias="additionalHeaders")

    def options(self) -> JwsOptions:
        return replace(
            super().options(),
            include_certificate=False,
            include_chain=bool(self.include_chain),
            additional=self.additional or {},
        )


class PayloadV2(_Version2):
    """Body of jwtSign/v2."""


class _Jws(Payload):
    validate_json: bool | None = Field(default=None, alias="validateJson")
    encoded: bool | None = Field(default=None, alias="b64JWSHeaderParam")
    algorithm: str | None = Field(default=None, alias="signAlgorithm", max_length=32)

    def options(self) -> JwsOptions:
        return replace(super().options(), algorithm=algorithm_of(self.algorithm), unencoded=not self.encoded)


class JwsPayload(_Jws):
    """Body of jwsSign."""


class JwsPayloadV2(_Version2, _Jws):
    """Body of jwsSign/v2."""


class Bytes(_Key):
    """Body of signV2 and signRawData."""

    data: Mandatory = Field(alias="dataToSign")
    encoding: str | None = Field(default=None, alias="responseEncodingFormat", max_length=32)
    algorithm: str | None = Field(default=None, alias="signAlgorithm", max_length=32)


class SignedPayload(WireModel):
    """Body of jwtVerify."""

    jws: Mandatory = Field(alias="jwtSignatureData")
    actual_data: str | None = Field(default=None, alias="actualData")
    application_id: OptionalApplicationId = Field(default=None, alias="applicationId")
    reference_id: OptionalReferenceId = Field(default=None, alias="referenceId")
    certificate: Pem | None = Field(default=None, alias="certificateData")
    validate_trust: bool | None = Field(default=None, alias="validateTrust")
    domain: str | None = Field(default=None, max_length=36)

    def claim(self) -> Claim:
        """Return what is to be verified; raises KeyProblem (KER-JWS-106) for data that is not base64."""
        malformed = KeyProblem("KER-JWS-106", "Signature data to verify not valid.")
        return Claim(
            jws=self.jws.strip(),
            payload=None if blank(self.actual_data) else decoded(self.actual_data, malformed),
            application_id=(self.application_id or "").strip(),
            reference_id=(self.reference_id or "").strip(),
            certificate=self.certificate,
            validate_trust=bool(self.validate_trust),
            domain=(self.domain or "").strip(),
        )


class Document(WireModel):
    """Body of pdf/sign."""

    application_id: ApplicationId = Field(alias="applicationId")
    reference_id: ReferenceId = Field(alias="referenceId")
    time_stamp: Instant = Field(alias="timeStamp")
    data: Mandatory
    lower_left_x: int = Field(default=0, alias="lowerLeftX")
    lower_left_y: int = Field(default=0, alias="lowerLeftY")
    upper_right_x: int = Field(default=0, alias="upperRightX")
    upper_right_y: int = Field(default=0, alias="upperRightY")
    reason: Mandatory = Field(max_length=1024)
    page_number: int = Field(default=1, alias="pageNumber")
    password: str | None = Field(default=None, max_length=127)

    @property
    def appearance(self) -> pdf.Appearance:
        """Where the signature shows, and why it was made."""
        box = (self.lower_left_x, self.lower_left_y, self.upper_right_x, self.upper_right_y)
        return pdf.Appearance(box=box, page=self.page_number, reason=self.reason)


def _not_valid() -> KeyProblem:
    return KeyProblem("KER-JWS-102", "Data to sign is not valid.")


def algorithm_of(name: str | None) -> SignatureAlgorithm:
    """Return the algorithm of a name; PS256 for any other, as the wire has it."""
    return SignatureAlgorithm.RS256 if (name or "").strip() == "RS256" else SignatureAlgorithm.PS256


class _Signing:
    """What the signing routes share: who may sign what, and the audit of it."""

    def __init__(self, router: KeyRouter, keys: KeyAdministration, access: ApplicationAccess, uses: UseLog) -> None:
        self._router = router
        self._keys = keys
        self._access = access
        self._uses = uses
        self._signer = Signer(keys)
        self._documents = asyncio.Semaphore(DOCUMENTS_AT_ONCE)

    async def token(
        self, caller: Caller, action: str, asked: Payload, options: JwsOptions, *, check_json: bool
    ) -> Answer:
        """Return the answer of jwtSign and jwsSign."""
        with self._uses.using(caller, action, asked.named):
            ref = asked.ref
            self._access.check_sign(caller, ref)
            payload = decoded(asked.data, _not_valid())
            if check_json:
                payloads.check_json(payload)
            self._access.check_payload(caller, ref, reserved=payloads.is_reserved(payload))
            made = await self._signer.jws(ref, payload, options)
            return {"jwtSignedData": made, "timestamp": self._router.timestamp()}

    async def text(self, caller: Caller, text: str) -> Answer:
        """Return the answer of sign: a detached JWS whose header names the algorithm only."""
        with self._uses.using(caller, "sign", KERNEL_SIGN):
            payload = text.encode()
            self._access.check_payload(caller, KERNEL_SIGN, reserved=payloads.is_reserved(payload))
            made = await self._signer.jws(KERNEL_SIGN, payload, JwsOptions(with_key_id=False))
            return {"signature": made, "timestamp": self._router.timestamp()}

    async def raw(self, caller: Caller, action: str, asked: Bytes) -> tuple[str, Answer]:
        """Return the written signature over bytes, and what else signRawData answers."""
        with self._uses.using(caller, action, asked.named):
            ref, algorithm = asked.ref, algorithm_of(asked.algorithm)
            self._access.check_sign(caller, ref)
            encode = _encoding(asked.encoding)
            made = await self._signer.raw(ref, decoded(asked.data, _not_valid()), algorithm)
            return encode(made.value), {
                "keyId": made.certificate.key_id,
                "certificate": made.certificate.pem,
                "signatureAlgorithm": algorithm.value,
                "timestamp": self._router.timestamp(),
            }

    async def document(self, caller: Caller, asked: Document) -> Answer:
        """Return the answer of pdf/sign."""
        with self._uses.using(caller, "pdf/sign", KeyRef(asked.application_id, asked.reference_id)):
            ref = signing_ref(asked.application_id, asked.reference_id)
            self._access.check_sign(caller, ref)
            document = decoded(asked.data, _not_valid())
            current = await self._keys.certificate(ref)
            async with self._documents:
                signed = await pdf.sign(
                    document,
                    current.x509,
                    (await chain_of(self._keys, current.x509, ref.application_id))[1:],
                    asked.appearance,
                    lambda data: self._signer.attributes(ref, current, data),
                    password=None if blank(asked.password) else asked.password,
                )
            return {"data": b64u(signed)}


def add_signatures(
    router: KeyRouter,
    keys: KeyAdministration,
    access: ApplicationAccess,
    uses: UseLog,
    verifier: Verifier,
    *,
    json_only: bool,
) -> None:
    """Declare the routes of signatures; ``json_only`` makes jwtSign refuse other payloads."""
    signing = _Signing(router, keys, access, uses)
    _add_tokens(router, signing, json_only=json_only)
    _add_bytes(router, signing)
    _add_verification(router, keys, verifier)


def _add_tokens(router: KeyRouter, signing: _Signing, *, json_only: bool) -> None:
    sign_allowed = allow(Permission.KEYS_SIGN)

    @router.enveloped("POST", "/jwtSign", sign_allowed)
    async def jwt_sign(body: RequestEnvelope[Payload], caller: CallerParameter) -> Answer:
        """Sign a payload as a compact JWS."""
        return await signing.token(caller, "jwtSign", body.request, body.request.options(), check_json=json_only)

    @router.enveloped("POST", "/jwtSign/v2", sign_allowed)
    async def jwt_sign_v2(body: RequestEnvelope[PayloadV2], caller: CallerParameter) -> Answer:
        """Sign a payload as a compact JWS, with the chain and further header members."""
        return await signing.token(caller, "jwtSign", body.request, body.request.options(), check_json=json_only)

    @router.enveloped("POST", "/jwsSign", sign_allowed)
    async def jws_sign(body: RequestEnvelope[JwsPayload], caller: CallerParameter) -> Answer:
        """Sign a payload as a JWS, by default unencoded and with PS256."""
        asked = body.request
        return await signing.token(caller, "jwsSign", asked, asked.options(), check_json=bool(asked.validate_json))

    @router.enveloped("POST", "/jwsSign/v2", sign_allowed)
    async def jws_sign_v2(body: RequestEnvelope[JwsPayloadV2], caller: CallerParameter) -> Answer:
        """Sign a payload as a JWS, with the chain and further header members."""
        asked = body.request
        return await signing.token(caller, "jwsSign", asked, asked.options(), check_json=bool(asked.validate_json))


def _add_bytes(router: KeyRouter, signing: _Signing) -> None:
    sign_allowed = allow(Permission.KEYS_SIGN)

    @router.enveloped("POST", "/sign", sign_allowed)
    async def sign(body: RequestEnvelope[Text], caller: CallerParameter) -> Answer:
        """Sign a text with KERNEL:SIGN."""
        return await signing.text(caller, body.request.data)

    @router.enveloped("POST", "/signV2", sign_allowed)
    async def sign_v2(body: RequestEnvelope[Bytes], caller: CallerParameter) -> Answer:
        """Sign bytes."""
        value, rest = await signing.raw(caller, "signV2", body.request)
        return {"signature": value, "timestamp": rest["timestamp"]}

    @router.enveloped("POST", "/signRawData", sign_allowed)
    async def sign_raw(body: RequestEnvelope[Bytes], caller: CallerParameter) -> Answer:
        """Sign bytes; the answer names key, certificate and algorithm."""
        value, rest = await signing.raw(caller, "signRawData", body.request)
        return {"signedData": value, **rest}

    @router.enveloped("POST", "/pdf/sign", allow(Permission.KEYS_DOCUMENT_SIGN))
    async def sign_document(body: RequestEnvelope[Document], caller: CallerParameter) -> Answer:
        """Sign a PDF visibly; with a password, encrypt it too."""
        return await signing.document(caller, body.request)


def _add_verification(router: KeyRouter, keys: KeyAdministration, verifier: Verifier) -> None:
    verify_allowed = allow(Permission.KEYS_VERIFY)

    @router.enveloped("POST", "/validate", verify_allowed)
    async def validate(body: RequestEnvelope[SignedText]) -> Answer:
        """Check what ``sign`` made with the certificate of its time."""
        asked = body.request
        at = parse_instant(asked.timestamp)
        for certificate in await keys.certificates(KERNEL_SIGN):
            try:
                jws.verify(asked.signature, asked.data.encode(), certificate=certificate.x509, at=at)
            except SignatureInvalid:
                continue
            return {"status": "success", "message": VALID}
        raise KeyProblem("KER-CSS-101", "Validation Unsuccessful")

    async def verdict(asked: SignedPayload, *, use_chain: bool) -> Answer:
        found = await verifier.verify(asked.claim(), use_chain=use_chain)
        return {"signatureValid": found.valid, "message": VALID if found.valid else FAILED, "trustValid": found.trust}

    @router.enveloped("POST", "/jwtVerify", verify_allowed)
    async def jwt_verify(body: RequestEnvelope[SignedPayload]) -> Answer:
        """Check a JWS, and on request the path of its certificate to a domain's root."""
        return await verdict(body.request, use_chain=False)

    @router.enveloped("POST", "/jwtVerify/v2", verify_allowed)
    async def jwt_verify_v2(body: RequestEnvelope[SignedPayload]) -> Answer:
        """Check a JWS that may bring the intermediates of its path."""
        return await verdict(body.request, use_chain=True)


def _encoding(name: str | None) -> Callable[[bytes], str]:
    """Return how a raw signature is written; raises KeyProblem (KER-KMS-036)."""
    match (name or "base58btc").strip():
        case "base58btc" | "":
            return lambda value: "z" + base58(value)
        case "base64url":
            return b64u
        case _:
            raise KeyProblem("KER-KMS-036", "Unsupported output format for the signature.")
