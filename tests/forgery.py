"""A registration station that also makes broken packets, as a thief of the machine or a faulty client would."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from civium.apps.sandbox.applicant import Applicant
from civium.apps.sandbox.client import Platform
from civium.apps.sandbox.registration import RegistrationStation
from civium.kernel.clock import SystemClock
from civium.packets.api import Enrolment, Packet, SubPacket, compose, seal, sync_body, sync_entry, write_zip
from civium.platform.permissions import Role
from platform_fixtures import RunningPlatform
from surface import Surface, envelope

BASE = "/registrationprocessor/v1"
Files = dict[SubPacket, dict[str, bytes]]


def nothing(_: Files) -> None: ...


class Forger(RegistrationStation):
    """The machine of the sandbox with access to the wire below its client."""

    def __init__(self, client: Platform, home: Path, surface: Surface) -> None:
        super().__init__(client, home)
        self._surface = surface

    @property
    def certificate(self) -> x509.Certificate:
        """The packet certificate of centre and machine."""
        answer = self._surface.ask(
            "GET", "/v1/syncdata/getCertificate", self._surface.role_tokens[Role.REGISTRATION_OFFICER],
            params={"applicationId": "REGISTRATION", "referenceId": "10001_10001"},
        )  # fmt: skip
        return x509.load_pem_x509_certificate(answer.json()["response"]["certificate"].encode())

    def forge(
        self,
        applicant: Applicant,
        change: Callable[[Files], None] = nothing,
        *,
        key: RSAPrivateKey | None = None,
        certificate: x509.Certificate | None = None,
        without: SubPacket | None = None,
        **enrolled: Any,
    ) -> tuple[Enrolment, Packet]:
        """Make a packet whose files were changed before the machine signed them.

        ``key`` signs in place of the machine's, ``certificate`` encrypts in place of the centre's.
        """
        enrolment, _ = self.build(applicant)
        enrolment = replace(enrolment, **enrolled)
        assert self._schema is not None
        files = compose(enrolment, self._schema)
        change(files)
        plain = {sub: write_zip(content, enrolment.created_at) for sub, content in files.items() if sub is not without}
        made = seal(
            enrolment, self._schema, plain,
            machine_key=key or self._key, certificate=certificate or self.certificate,
        )  # fmt: skip
        return enrolment, made

    def sync(self, enrolment: Enrolment, packet: Packet, **changes: Any) -> httpx.Response:
        """Announce a packet, with changes to what is said about it."""
        entry = msgspec.structs.replace(sync_entry(packet, enrolment), **changes)
        return self._surface.ask(
            "POST", f"{BASE}/registrationstatus/syncV2", self._surface.role_tokens[Role.REGISTRATION_OFFICER],
            content=sync_body([entry], at=SystemClock().now(), certificate=self.certificate),
            headers={"content-type": "application/json", "Center-Machine-RefId": "10001_10001"},
        )  # fmt: skip

    def send(self, sealed: bytes, file_name: str) -> httpx.Response:
        """Upload bytes under a name."""
        return self._surface.ask(
            "POST", f"{BASE}/packetreceiver/registrationpackets", self._surface.role_tokens[Role.REGISTRATION_OFFICER],
            files={"file": (file_name, sealed, "application/octet-stream")},
        )  # fmt: skip

    def external(self, enrolment: Enrolment) -> str:
        """Return the registration's external status word."""
        body = envelope(
            [{"registrationId": enrolment.rid.reveal()}], id="mosip.registration.external.status", version="1.0"
        )
        token = self._surface.role_tokens[Role.REGISTRATION_OFFICER]
        answer = self._surface.ask("POST", f"{BASE}/registrationstatus/externalstatus/search", token, json=body).json()
        return str(answer["response"][0]["statusCode"] if answer["response"] else answer["errors"][0]["errorCode"])

    def steps(self, enrolment: Enrolment) -> list[dict[str, str]]:
        """Return the steps of a registration, oldest first."""
        path = f"{BASE}/registrationtransaction/search/{enrolment.rid.reveal()}"
        answer = self._surface.ask("GET", path, self._surface.role_tokens[Role.REGISTRATION_PROCESSOR]).json()
        return list(answer["response"] or [])

    def failed_workflows(self) -> set[str]:
        """Return the workflows that an administrator finds as failed."""
        answer = self._administer(
            "workflow/search",
            {"filters": [{"columnName": "statusCode", "value": "FAILED"}], "pagination": {"pageFetch": 100}},
        )
        return {row["workflowId"] for row in answer["response"]["data"]}

    def act(self, workflow: str, action: str) -> dict[str, Any]:
        """Restart or stop a workflow."""
        return self._administer("workflowaction", {"workflowIds": [workflow], "workflowAction": action})

    def _administer(self, path: str, request: object) -> dict[str, Any]:
        token = self._surface.role_tokens[Role.REGISTRATION_ADMIN]
        answer = self._surface.ask("POST", f"{BASE}/workflowmanager/{path}", token, json=envelope(request))
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="session")
def station(platform: RunningPlatform, surface: Surface) -> Iterator[Forger]:
    """The sandbox's registration machine, in the wrong hands."""
    with platform.client() as client:
        yield Forger(client, platform.home, surface)
