"""A relying party's client on the running platform: the bytes of `authentication_world`, sent over real HTTP."""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509

from authentication_world import Client
from civium.apps.sandbox.registration import Registered
from civium.apps.sandbox.relying_party import RelyingParty
from civium.kernel.clock import iso_millis
from surface import Surface, codes

PATIENCE = 20.0


def birth(person: Registered) -> dict[str, Any]:
    """Return the demographic block that is right for a person."""
    return {"dob": person.applicant.date_of_birth}


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

    def ask(self, surface: Surface, usage: str, members: dict[str, Any] | bytes) -> httpx.Response:
        """Send a request; whatever is wrong with it, the answer is HTTP 200 in authentication's own envelope."""
        body = members if isinstance(members, bytes) else json.dumps(members, ensure_ascii=False).encode()
        headers = {
            "content-type": "application/json",
            "signature": self.signature(body),
            "authorization": "Authorization",
        }
        answer = surface.ask("POST", self.path(usage), content=body, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["response-signature"].count(".") == 2
        if not isinstance(members, bytes):
            assert members["individualId"] not in answer.text
        return answer

    def codes_soon(self, surface: Surface, individual: str, wanted: list[str], **block: Any) -> float:
        """Authenticate by date of birth until the codes are as wanted; returns the seconds that it took.

        Every request is a new one, so that none counts as replayed.
        """
        began = time.monotonic()
        while True:
            found = codes(self.ask(surface, "auth", self.request("auth", individual, **block)))
            seconds = time.monotonic() - began
            if found == wanted:
                return seconds
            assert seconds < PATIENCE, found
            time.sleep(0.05)

    def members(self, usage: str, individual: str, **changes: Any) -> dict[str, Any]:
        domain = {} if usage == "otp" else {"domainUri": self.url}
        return super().members(usage, individual, **{**domain, **changes})


@pytest.fixture(scope="session")
def client(surface: Surface, relying_party: RelyingParty, person: Registered) -> RelyingPartyClient:
    """The relying party's client, once authentication knows the partner and the person."""
    made = RelyingPartyClient.of(relying_party)
    made.codes_soon(surface, person.uin.reveal(), [], demographics=birth(person))
    return made
