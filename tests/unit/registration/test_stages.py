"""Each stage alone: a pure function of the case."""

from dataclasses import replace
from datetime import timedelta

import pytest

from civium.kernel.identifiers import RID
from civium.masterdata.api import Centre, Machine, Operator
from civium.packets.api import InvalidPacket, MetaInfo, PacketClaim, PacketFault, PacketView
from civium.packets.layout import Label
from civium.registration import domain, stages
from civium.registration.domain import Outcome, Status
from civium.registration.stages import Case
from packet_fixtures import AT
from registration_fixtures import hand

OPERATIONS = {
    "officerId": "o-1",
    "officerPassword": "true",
    "supervisorId": "s-1",
    "supervisorPassword": "true",
}


def labels(values: dict[str, str | None]) -> tuple[Label, ...]:
    return tuple(Label(label, value) for label, value in values.items())


def view(identity: dict[str, object] | None = None, consent: str | None = "Y", **operations: str | None) -> PacketView:
    meta = MetaInfo(
        registration_id="10001100010000120250203091500",
        creation_date="2025-02-03T09:15:00.000Z",
        meta_data=labels({"consentOfApplicant": consent}),
        operations_data=labels(OPERATIONS | operations),
    )
    claim = PacketClaim(RID.parse("10001100010000120250203091500"), "NEW", "10001_10001")
    return PacketView(claim, AT, identity or {}, {}, {}, meta, [{}])


CENTRE = Centre("10001", {}, active=True)
MACHINE = Machine("10001", "M", "10001", b"", b"", "", "", active=True)
GOOD = Case(
    view=view(),
    records=hand(1),
    schema_codes=frozenset(),
    supervisor_status="APPROVED",
    centre=CENTRE,
    machine=MACHINE,
    officer=Operator(user_id="o-1", centre="10001", role="REGISTRATION_OFFICER", active=True),
    supervisor=Operator(user_id="s-1", centre="10001", role="REGISTRATION_SUPERVISOR", active=True),
    now=AT + timedelta(minutes=1),
)
ELSEWHERE = Operator(user_id="o-1", centre="10002", role="REGISTRATION_OFFICER", active=True)


def test_a_good_case_passes_every_stage():
    findings = stages.examine(GOOD)
    assert len(findings) == len(stages.STAGES)
    assert {finding.outcome for finding in findings} == {Outcome.SUCCESS}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"supervisor_status": "REJECTED"}, domain.SUPERVISOR_REJECTED),
        ({"schema_codes": frozenset({"KER-IOV-004"})}, domain.SCHEMA_INVALID),
        ({"schema_codes": frozenset({"KER-IOV-004", "KER-IOV-005"})}, domain.FIELDS_MISSING),
        ({"view": view(consent="N")}, domain.NO_CONSENT),
        ({"view": view(consent="")}, domain.NO_CONSENT),
        ({"view": view(consent=None)}, domain.NO_CONSENT),
        ({"view": view({"consent": "N"})}, domain.NO_CONSENT),
        ({"records": None}, domain.CBEFF_INVALID),
        ({"records": ()}, domain.BIOMETRICS_MISSING),
        ({"records": hand(1)[1:]}, domain.BIOMETRICS_MISSING),
        ({"centre": None}, domain.CENTRE_UNKNOWN),
        ({"centre": replace(CENTRE, active=False)}, domain.CENTRE_INACTIVE),
        ({"machine": None}, domain.MACHINE_UNKNOWN),
        ({"machine": replace(MACHINE, centre="10002")}, domain.MACHINE_UNKNOWN),
        ({"machine": replace(MACHINE, active=False)}, domain.MACHINE_INACTIVE),
        ({"now": AT - timedelta(minutes=6)}, domain.TIME_INVALID),
        ({"view": view(officerId=None)}, domain.OFFICER_MISSING),
        ({"officer": None}, domain.OFFICER_NOT_AT_CENTRE),
        ({"officer": ELSEWHERE}, domain.OFFICER_NOT_AT_CENTRE),
        ({"officer": replace(GOOD.officer, active=False)}, domain.OFFICER_INACTIVE),
        ({"view": view(officerPassword="false")}, domain.OFFICER_UNVERIFIED),
        ({"view": view(supervisorId=None)}, domain.SUPERVISOR_MISSING),
        ({"supervisor": ELSEWHERE}, domain.SUPERVISOR_NOT_AT_CENTRE),
        ({"supervisor": replace(GOOD.supervisor, active=False)}, domain.SUPERVISOR_INACTIVE),
        ({"view": view(supervisorPassword="false")}, domain.SUPERVISOR_UNVERIFIED),
        ({"records": tuple(replace(record, quality=29) for record in hand(1))}, domain.QUALITY_LOW),
    ],
)
def test_the_first_that_does_not_pass_ends_the_examination(change, expected):
    findings = stages.examine(replace(GOOD, **change))
    assert findings[-1] == expected
    assert all(finding.outcome is Outcome.SUCCESS for finding in findings[:-1])


def test_an_otp_proves_an_officer_too():
    case = replace(GOOD, view=view(officerPassword="false", officerOTPAuthentication="true"))
    assert stages.check_officer(case) == domain.OFFICER_VALID


def test_only_captured_fingers_are_compared():
    assert {record.subtype for record in stages.fingers(hand(1))} == {"Right Thumb", "Left MiddleFinger"}


@pytest.mark.parametrize("fault", list(PacketFault))
def test_every_fault_of_a_packet_has_a_finding(fault):
    finding = stages.refusal(InvalidPacket(fault))
    assert (finding.outcome, finding.ends) == (Outcome.FAILED, Status.FAILED)


def test_a_cbeff_that_does_not_parse_is_told_from_none():
    assert stages.parse_records(None) == ()
    assert stages.parse_records(b"<BIR/>") is None
