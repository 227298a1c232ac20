"""A relying party's client on the running platform: the bytes of `authentication_world`, sent over real HTTP."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509

from authentication_world import Client
from civium.apps.sandbox.relying_party import RelyingParty
from civium.kernel.clock import iso_millis


@dataclass
class _Installation:
    """What the client needs to know about the platform."""

    encryption_certificate: x509.Certificate

    @staticmethod
    def instant(**shift: float) -> str:
        return iso_millis(datetime.now(UTC) + timedelta(**shift))


@dataclass
class RelyingPartyClient(Client):
    """Signs and seals what a test then sends."""

    url: str = ""

    @classmethod
    def of(cls, party: RelyingParty, **changes: Any) -> "RelyingPartyClient":
        world = _Installation(x509.load_pem_x509_certificate(party.encryption_certificate_pem.encode()))
        parts = {
            "partner_id": party.partner_id,
            "licence_key": party.licence_key.reveal(),
            "api_key": party.api_key.reveal(),
            "key": party.key,
            "certificate": party.certificate,
            "url": party.platform_url,
        }
        return cls(world=world, **{**parts, **changes})  # type: ignore[arg-type]

    def members(self, usage: str, individual: str, **changes: Any) -> dict[str, Any]:
        domain = {} if usage == "otp" else {"domainUri": self.url}
        return super().members(usage, individual, **{**domain, **changes})
