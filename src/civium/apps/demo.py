"""The main job, on a made-up person: enrolled from a sealed packet, then authenticated by the public client.

Everything goes over HTTP with the credentials that each party would have. Prints what each party learned and did not
learn; leaves a record without personal data for the start page.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from civium.apps.sandbox.applicant import make_applicant
from civium.apps.sandbox.client import Platform
from civium.apps.sandbox.public_client import PublicClient
from civium.apps.sandbox.registration import REGISTERED, Registered, RegistrationStation, find_uin, issue_vid
from civium.apps.sandbox.relying_party import make_relying_party, write_client_files
from civium.apps.web.journey import Journey, Step, save
from civium.kernel.clock import SystemClock, monotonic
from civium.kernel.errors import CiviumError
from civium.kernel.identifiers import VID
from civium.kernel.secrets import OTP

OTP_SECONDS = 10.0
NOTICE_SECONDS = 20.0
_OTP = re.compile(r"(?<!\d)\d{6}(?!\d)")


class DemoFailed(CiviumError):
    """A step of the journey did not end as it must. Names the step and the wire's codes."""


@dataclass(slots=True)
class _Story:
    """The steps so far, told on the console as they end."""

    console: Console
    began: float
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(
        self, name: str, party: str, says: str, *, learned: tuple[str, ...] = (), hidden: tuple[str, ...] = ()
    ) -> Iterator[None]:
        with self.console.status(f"{says} ..."):
            started = monotonic()
            yield
        took = monotonic() - started
        self.steps.append(Step(name, party, monotonic() - self.began, learned, hidden))
        self.console.print(f"  [green]✓[/green] {says} [dim]{took:.1f} s[/dim]")


def journey(home: Path, url: str, console: Console, *, began: float, client_python: Path) -> Journey:
    """Run the journey against the server at ``url``; raises DemoFailed or CallFailed.

    ``began`` is the monotonic second at which the demo was started, so that the figures include the start-up.
    """
    story = _Story(console, began)
    with Platform(url) as platform:
        registered = _enrol(platform, home, story)
        party = f"clinic-{SystemClock().now():%Y%m%d%H%M%S}"
        with console.status("Registering a relying party ..."):
            relying_party = make_relying_party(platform, party)
            folder = home / "sandbox" / "relying-party"
            write_client_files(relying_party, folder)
        console.print(f"  [green]✓[/green] A relying party registered through the partner API [dim]{party}[/dim]")
        opened, token = _authenticate(platform, registered, PublicClient(client_python, folder), story)
    seconds = monotonic() - began
    _report(console, registered, opened, token)
    return Journey(tuple(story.steps), seconds, 0.0)


def _enrol(platform: Platform, home: Path, story: _Story) -> Registered:
    station = RegistrationStation(platform, home)
    seen = ("demographics", "documents", "biometrics")
    with story.step("captured", "officer", "An adult was captured: two languages, papers, fingers, irises, face",
                    learned=seen, hidden=("uin",)):  # fmt: skip
        applicant = make_applicant()
    with story.step("sealed", "officer", "The packet was signed by the machine and sealed", learned=(*seen, "rid"),
                    hidden=("uin",)):  # fmt: skip
        enrolment, packet = station.build(applicant)
    with story.step("uploaded", "carrier", f"The packet was announced and uploaded ({len(packet.sealed) // 1024} KiB)",
                    learned=("ciphertext",), hidden=(*seen, "rid")):  # fmt: skip
        station.announce(enrolment, packet, applicant)
        station.upload(packet)
    with story.step("registered", "register", "Validated, unique by name and by fingers, number minted",
                    learned=(*seen, "rid", "uin"), hidden=("faces",)):  # fmt: skip
        status = station.wait(enrolment.rid)
        if status != REGISTERED:
            raise DemoFailed(f"the registration ended in status {status}: see the log under {home / 'log'}")
        uin = find_uin(platform, enrolment.rid)
    with story.step("notified", "person", "The person was told by mail and SMS", learned=("rid",), hidden=("uin",)):
        _await_message(platform, applicant.email, enrolment.rid.reveal(), NOTICE_SECONDS)
        _await_message(platform, applicant.phone, enrolment.rid.reveal(), NOTICE_SECONDS)
    with story.step("vid", "person", "A perpetual virtual ID was issued", learned=("vid",)):
        vid = issue_vid(platform, uin, "Perpetual")
    return Registered(enrolment.rid, uin, vid, applicant)


def _authenticate(
    platform: Platform, registered: Registered, client: PublicClient, story: _Story
) -> tuple[Mapping[str, Any], str]:
    with story.step("otp", "relying-party", "A one-time password went to the person",
                    learned=("vid", "masked-address"), hidden=("uin", "otp", "contact")):  # fmt: skip
        otp = _fresh_otp(platform, client, registered, "1000000001")
    with story.step("authenticated", "relying-party", "The relying party asked with the public client: yes",
                    learned=("vid", "otp", "yes", "token"), hidden=("uin", "demographics", "biometrics")):  # fmt: skip
        answer = client.call("auth", registered.vid, "1000000001", otp_value=otp.reveal(), consent=True)
        if not answer["response"]["authStatus"]:
            raise DemoFailed(f"the authentication said no: {_codes(answer)}")
        token = str(answer["response"]["authToken"])
    with story.step("kyc", "relying-party", "e-KYC gave what policy and consent allow",
                    learned=("fullName", "gender", "dateOfBirth", "photo", "token"),
                    hidden=("uin", "rid", "address", "contact", "documents")):  # fmt: skip
        otp = _fresh_otp(platform, client, registered, "1000000002")
        answer = client.call("kyc", registered.vid, "1000000002", otp_value=otp.reveal(), consent=True)
        if not answer["response"]["kycStatus"]:
            raise DemoFailed(f"the e-KYC said no: {_codes(answer)}")
        if answer["response"]["authToken"] != token:
            raise DemoFailed("the same party got two tokens for one person")
    return answer["opened"], token


def _fresh_otp(platform: Platform, client: PublicClient, registered: Registered, transaction: str) -> OTP:
    address = registered.applicant.email
    before = len(platform.messages(address))
    limit = monotonic() + OTP_SECONDS
    while True:
        answer = client.call("genotp", registered.vid, transaction, email=True)
        if not answer["errors"]:
            break
        # The VID's credential reaches authentication a moment after it was issued.
        if "IDA-MLC-018" not in _codes(answer) or monotonic() > limit:
            raise DemoFailed(f"no OTP was sent: {_codes(answer)}")
        time.sleep(0.1)
    while monotonic() < limit:
        for message in platform.messages(address)[: len(platform.messages(address)) - before]:
            if found := _OTP.search(message["body"]):
                return OTP(found[0])
        time.sleep(0.05)
    raise DemoFailed("the OTP did not arrive in the catcher")


def _await_message(platform: Platform, address: str, text: str, seconds: float) -> None:
    limit = monotonic() + seconds
    while not any(text in message["body"] for message in platform.messages(address)):
        if monotonic() > limit:
            raise DemoFailed("the notification did not arrive in the catcher")
        time.sleep(0.05)


def _codes(answer: Mapping[str, Any]) -> str:
    return ", ".join(error["errorCode"] for error in answer["errors"] or []) or "no error code"


def _masked(vid: VID) -> str:
    return f"{'•' * 12}{vid.reveal()[-4:]}"


def _report(console: Console, registered: Registered, opened: Mapping[str, Any], token: str) -> None:
    table = Table(title="What each party learned, and did not learn", title_justify="left")
    for heading in ("Party", "Learned", "Did not learn"):
        table.add_column(heading, overflow="fold")
    table.add_row(
        "Registration centre", "what it captured; the registration number", "the UIN; what happened afterwards"
    )
    table.add_row("Network, object store", "sealed bytes under opaque names", "anything about the person")
    table.add_row(
        "Person", f"registration number, virtual ID {_masked(registered.vid)}", "the UIN: nobody shows it around"
    )
    attributes = ", ".join(_shown(name, value) for name, value in sorted(opened.items()))
    table.add_row(
        "Relying party", f"yes; {attributes}; token {token[:6]}…", "UIN, RID, address, phone, e-mail, documents"
    )
    table.add_row("Authentication", "that the one-time password was right", "attributes that nobody asked for")
    console.print(table)


def _shown(name: str, value: object) -> str:
    text = str(value)
    return f"{name} ({len(text)} characters)" if name in {"photo", "face"} else f"{name} {text}"


def finish(home: Path, story: Journey, memory_megabytes: float) -> Journey:
    """Add the memory figure and keep the journey for the start page."""
    finished = Journey(story.steps, story.seconds, memory_megabytes)
    save(home, finished)
    return finished
