"""Broken packets, uploaded to the running platform: each gets its code, none is lost, none harms the next one."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from civium.apps.sandbox.applicant import make_applicant
from civium.apps.sandbox.registration import load_machine_key
from civium.packets.api import SubPacket
from forgery import *  # noqa: F403
from forgery import Files, Forger
from packet_fixtures import self_signed
from surface import *  # noqa: F403
from surface import codes, leaks

ESCAPED = Path(tempfile.gettempdir()) / "civium-escaped.pdf"
SECONDS = 30.0


def until(station: Forger, enrolment, wanted: Callable[[list[str]], bool]) -> list[str]:
    """Return the codes of a registration's steps as soon as they are as wanted."""
    limit = time.monotonic() + SECONDS
    while True:
        found = [step["subStatusCode"] for step in station.steps(enrolment)]
        if wanted(found) or time.monotonic() > limit:
            return found
        time.sleep(0.05)


def bring(station: Forger, enrolment, packet) -> None:
    assert not station.sync(enrolment, packet).json()["errors"]
    assert not codes(station.send(packet.sealed, packet.file_name))


def missing_file(files: Files) -> None:
    del files[SubPacket.ID]["proofOfIdentity.pdf"]


def missing_audit(files: Files) -> None:
    del files[SubPacket.ID]["audit.json"]


def extra_file(files: Files) -> None:
    files[SubPacket.EVIDENCE]["stowaway.pdf"] = b"%PDF-1.4"


def hash_mismatch(files: Files) -> None:
    files[SubPacket.ID]["packet_data_hash.txt"] = b"0" * 64


def other_document(files: Files) -> None:
    files[SubPacket.ID]["proofOfIdentity.pdf"] += b" "


def zip_bomb(files: Files) -> None:
    files[SubPacket.ID]["proofOfIdentity.pdf"] = bytes(16 * 1024 * 1024)


def larger_zip_bomb(files: Files) -> None:
    files[SubPacket.ID]["proofOfIdentity.pdf"] = bytes(200 * 1024 * 1024)


def many_files(files: Files) -> None:
    files[SubPacket.ID] |= {f"file{number}.pdf": b"" for number in range(2000)}


def traversal(files: Files) -> None:
    files[SubPacket.ID][f"../../../..{ESCAPED}"] = b"escaped"


def absolute_name(files: Files) -> None:
    files[SubPacket.ID][str(ESCAPED)] = b"escaped"


def no_meta(files: Files) -> None:
    del files[SubPacket.OPTIONAL]["packet_meta_info.json"]


def no_json(files: Files) -> None:
    files[SubPacket.ID]["packet_meta_info.json"] = b"{" * 100_000


BROKEN = {
    missing_file: "RPR-PKV-FAILED-001",
    missing_audit: "RPR-PKV-FAILED-001",
    extra_file: "RPR-PKV-FAILED-001",
    zip_bomb: "RPR-PKV-FAILED-001",
    larger_zip_bomb: "RPR-PKV-FAILED-001",
    many_files: "RPR-PKV-FAILED-001",
    traversal: "RPR-PKV-FAILED-001",
    absolute_name: "RPR-PKV-FAILED-001",
    no_meta: "RPR-PKV-FAILED-001",
    hash_mismatch: "RPR-PKV-FAILED-003",
    other_document: "RPR-PKV-FAILED-003",
    no_json: "RPR-PKV-FAILED-012",
}


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_what_is_wrong_inside(station, applicant, change):
    fails(station, *station.forge(applicant, change), BROKEN[change])
    assert not ESCAPED.exists()


def fails(station, enrolment, packet, code, *, status="REREGISTER") -> None:
    """Upload; expect the code, and that the packet is still there to be examined again, with the same result."""
    known = station.failed_workflows()
    bring(station, enrolment, packet)
    steps = until(station, enrolment, lambda found: code in found)
    assert steps[-1] == code
    assert station.external(enrolment) == status
    [workflow] = station.failed_workflows() - known
    assert station.act(workflow, "RESUME_FROM_BEGINNING")["response"]["statusMessage"]
    again = until(station, enrolment, lambda found: found.count(code) == 2)
    assert again[-1] == code
    assert again.count(code) == 2
    assert station.act(workflow, "STOP_PROCESSING")["response"]["statusMessage"]
    assert station.external(enrolment) == "REJECTED"


def test_part_missing(station, applicant):
    fails(station, *station.forge(applicant, without=SubPacket.OPTIONAL), "RPR-PKV-FAILED-001")


def test_wrong_machine_key(station, applicant):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    fails(station, *station.forge(applicant, key=key), "RPR-PKV-FAILED-012")


def test_for_another_centre(station, applicant, platform):
    certificate: x509.Certificate = self_signed(load_machine_key(platform.home))
    fails(station, *station.forge(applicant, certificate=certificate), "RPR-PKU-FAILED-007", status="RESEND")


def test_refusals_at_the_door(station, applicant, person):  # whose packet is good, but a duplicate
    enrolment, packet = station.forge(applicant)
    before = station.failed_workflows()
    assert codes(station.send(packet.sealed, packet.file_name)) == ["RPR-PKR-001"]
    assert station.external(enrolment) == "RPR-RGS-031"
    assert station.steps(enrolment) == []

    station.sync(enrolment, packet, packet_size=len(packet.sealed) + 1)
    assert codes(station.send(packet.sealed, packet.file_name)) == ["RPR-PKR-013"]
    station.sync(enrolment, packet)
    flipped = bytearray(packet.sealed)
    flipped[len(flipped) // 2] ^= 1
    assert codes(station.send(bytes(flipped), packet.file_name)) == ["RPR-PKR-009"]
    assert codes(station.send(packet.sealed[:-1], packet.file_name)) == ["RPR-PKR-009"]
    assert codes(station.send(packet.sealed, f"{packet.id}.tar")) == ["RPR-PKR-003"]
    assert codes(station.send(packet.sealed, f"../{packet.file_name}")) == ["RPR-PKR-001"]
    too_large = station.send(bytes(7 * 1024 * 1024), packet.file_name)
    assert (too_large.status_code, codes(too_large)) == (413, ["RPR-PKR-006"])
    assert station.external(enrolment) == "UPLOAD_PENDING"
    assert station.failed_workflows() == before

    assert not codes(station.send(packet.sealed, packet.file_name))
    assert codes(station.send(packet.sealed, packet.file_name)) == ["RPR-PKR-005"]
    examined = until(station, enrolment, lambda found: "RPR-PKV-SUCCESS-001" in found)
    assert examined.count("RPR-PKV-SUCCESS-001") == 1


def test_wrong_announcements(station, applicant):
    enrolment, packet = station.forge(applicant)
    for changes, code in (
        ({"registration_id": "1"}, "RPR-RGS-009"),
        ({"registration_type": "UNKNOWN"}, "RPR-RGS-003"),
        ({"packet_hash_value": None}, "RPR-RGS-027"),
        ({"packet_id": "../../x"}, "RPR-RGS-014"),
    ):
        assert codes(station.sync(enrolment, packet, **changes)) == [code]
    assert station.external(enrolment) == "RPR-RGS-031"


async def test_from_failure_to_the_register(station, surface):
    """One packet: damaged on its way, sent again, refused for its officer, examined again, in the register."""
    newcomer = make_applicant(20261126)
    enrolment, packet = station.forge(newcomer, officer="newcomer")
    damaged = bytearray(packet.sealed)
    damaged[len(damaged) // 2] ^= 1
    bring(station, enrolment, type(packet)(packet.id, bytes(damaged)))
    until(station, enrolment, lambda found: "RPR-PKU-FAILED-007" in found)
    assert station.external(enrolment) == "RESEND"

    known = station.failed_workflows()
    bring(station, enrolment, packet)
    until(station, enrolment, lambda found: "RPR-OVM-FAILED-004" in found)
    assert station.external(enrolment) == "REREGISTER"
    await surface.installation.master_data.register_operator("newcomer", centre="10001", role="REGISTRATION_OFFICER")
    [workflow] = station.failed_workflows() & known
    assert station.act(workflow, "RESUME_FROM_BEGINNING")["response"]["statusMessage"]
    found = until(station, enrolment, lambda found: "RPR-UIN-SUCCESS-001" in found)
    assert "RPR-UIN-SUCCESS-001" in found, found
    assert station.external(enrolment) == "UIN_GENERATED"


def test_nothing_of_the_packets_is_in_a_log(platform, applicant):
    reference = applicant.documents["proofOfIdentity"].reference
    values = [*applicant.names.values(), applicant.email, applicant.phone, reference]
    assert not leaks(platform.home, *values)
