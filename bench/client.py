"""A relying party's side of an authentication: whole HTTP requests as bytes, sealed and signed ahead of time.

Each request has its own session key, its own signature, and the instant at which it will be sent as its time, so it
is what a relying party would send then.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench.load import Shot
from bench.machine import CORES
from civium.apps.sandbox.relying_party import RelyingParty
from civium.kernel.clock import iso_millis
from civium.keys.api import jws, session


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to make: an OTP request when it has neither factor."""

    uin: str = field(repr=False)
    transaction: str
    due: float
    otp: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Signer:
    host: str
    path: str
    key: rsa.RSAPrivateKey = field(repr=False)
    header: str
    encryption: x509.Certificate

    def shot(self, wanted: Wanted, begin: datetime) -> Shot:
        at = iso_millis(begin + timedelta(seconds=wanted.due))
        authenticates = wanted.otp is not None or wanted.name is not None
        usage = "auth" if authenticates else "otp"
        members: dict[str, Any] = {
            "id": f"mosip.identity.{usage}",
            "version": "1.0",
            "individualId": wanted.uin,
            "individualIdType": "UIN",
            "transactionID": wanted.transaction,
            "requestTime": at,
        }
        if authenticates:
            members |= {"env": "Staging", "consentObtained": True, "specVersion": "1.0", **self._sealed(wanted, at)}
        else:
            members |= {"otpChannel": ["email"]}
        body = json.dumps(members, separators=(",", ":")).encode()
        signed = jws.signing_input(self.header, body)
        signature = jws.assemble(signed, self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))
        head = (
            f"POST /idauthentication/v1/{usage}/{self.path} HTTP/1.1\r\nhost: {self.host}\r\n"
            f"content-type: application/json\r\nauthorization: Authorization\r\nsignature: {signature}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return Shot(wanted.due, head.encode() + body)

    def _sealed(self, wanted: Wanted, at: str) -> dict[str, str]:
        block: dict[str, Any] = {"timestamp": at, "biometrics": []}
        if wanted.otp is not None:
            block["otp"] = wanted.otp
        if wanted.name is not None:
            block["demographics"] = {"name": [{"language": "eng", "value": wanted.name}]}
        sealed = session.seal_request(self.encryption, json.dumps(block, separators=(",", ":")).encode())
        return {
            "request": sealed.request,
            "requestSessionKey": sealed.session_key,
            "requestHMAC": sealed.digest,
            "thumbprint": sealed.thumbprint,
        }


_signers: list[_Signer] = []
"""The signer of a preparing process."""


def _begin(host: str, path: str, key: bytes, header: str, encryption: str) -> None:
    private = serialization.load_pem_private_key(key, None)
    assert isinstance(private, rsa.RSAPrivateKey)
    _signers.append(_Signer(host, path, private, header, x509.load_pem_x509_certificate(encryption.encode())))


def _shots(wanted: Sequence[Wanted], begin: datetime) -> list[Shot]:
    return [_signers[0].shot(each, begin) for each in wanted]


class Client:
    """Prepares requests of one relying party on all cores. A context manager."""

    def __init__(self, party: RelyingParty) -> None:
        key = party.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = f"{party.licence_key.reveal()}/{party.partner_id}/{party.api_key.reveal()}"
        arguments = (
            urlsplit(party.platform_url).netloc,
            path,
            key,
            jws.header(certificate=party.certificate),
            party.encryption_certificate_pem,
        )
        self._pool = ProcessPoolExecutor(CORES, get_context("spawn"), initializer=_begin, initargs=arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def prepare(self, wanted: Sequence[Wanted], begin: datetime) -> list[Shot]:
        """Return the requests of a run that begins at ``begin``. About 0.9 ms of CPU for each."""
        parts = [wanted[number::CORES] for number in range(CORES)]
        running = [self._pool.submit(_shots, part, begin) for part in parts]
        return sorted((shot for part in running for shot in part.result()), key=lambda shot: shot.due)
