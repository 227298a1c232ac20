"""The examination of a packet: each stage is a pure function from the case to its finding.

Stages run in the order of the NEW route (registration sections 4.2 and 4.3); the first that does not pass ends it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from civium.biometrics.api import BiometricRecord, InvalidBiometrics, Modality, missing_mandatory, parse_cbeff
from civium.masterdata.api import Centre, Machine, Operator
from civium.packets.api import InvalidPacket, PacketFault, PacketView
from civium.registration import domain
from civium.registration.domain import Finding, Outcome

APPROVED = "APPROVED"
LOWEST_QUALITY = 30
"""Scores below it are levels 1 to 3 of 10, with which no registration goes on."""
CLOCK_TOLERANCE = timedelta(minutes=5)
_MISSING_CODE = "KER-IOV-005"
_JUDGED = (Modality.FINGER, Modality.IRIS, Modality.FACE)


@dataclass(frozen=True, slots=True)
class Case:
    """A packet and all that the stages need to know about it. ``None`` means: not known to master data."""

    view: PacketView = field(repr=False)
    records: Sequence[BiometricRecord] | None = field(repr=False)
    """Of ``individualBiometrics``; None when its CBEFF does not parse."""
    schema_codes: frozenset[str]
    """Codes of what the ID schema's check complained about."""
    supervisor_status: str
    centre: Centre | None
    machine: Machine | None
    officer: Operator | None
    supervisor: Operator | None
    now: datetime


def parse_records(cbeff: bytes | None) -> Sequence[BiometricRecord] | None:
    """Return the records of a CBEFF, none for a packet without; None when it does not parse."""
    if cbeff is None:
        return ()
    try:
        return parse_cbeff(cbeff)
    except InvalidBiometrics:
        return None


def examine(case: Case) -> list[Finding]:
    """Return the findings up to the first that ends the examination, or all."""
    findings: list[Finding] = []
    for stage in STAGES:
        findings.append(stage(case))
        if findings[-1].outcome is not Outcome.SUCCESS:
            break
    return findings


def validate(case: Case) -> Finding:
    """VALIDATE_PACKET: supervisor's approval, ID schema, consent, biometrics."""
    if case.supervisor_status != APPROVED:
        return domain.SUPERVISOR_REJECTED
    if case.schema_codes:
        return domain.FIELDS_MISSING if _MISSING_CODE in case.schema_codes else domain.SCHEMA_INVALID
    if _consent(case.view) != "Y":
        return domain.NO_CONSENT
    if case.records is None:
        return domain.CBEFF_INVALID
    return domain.BIOMETRICS_MISSING if missing_mandatory(case.records) else domain.VALID


def _consent(view: PacketView) -> str | None:
    """Return the consent: a field where the country's schema has one, else what the client noted."""
    given = view.identity.get("consent")
    return given if isinstance(given, str) else view.meta.data("consentOfApplicant")


def classify(_: Case) -> Finding:
    """PACKET_CLASSIFICATION. Nothing is tagged in clear: what a route needs is worked out from the case."""
    return domain.CLASSIFIED


def check_origin(case: Case) -> Finding:
    """CMD_VALIDATION: centre and machine are known and active, the time is not in the future."""
    if case.centre is None:
        return domain.CENTRE_UNKNOWN
    if not case.centre.active:
        return domain.CENTRE_INACTIVE
    if case.machine is None or case.machine.centre != case.centre.id:
        return domain.MACHINE_UNKNOWN
    if not case.machine.active:
        return domain.MACHINE_INACTIVE
    if case.view.created_at > case.now + CLOCK_TOLERANCE:
        return domain.TIME_INVALID
    return domain.ORIGIN_VALID


def check_officer(case: Case) -> Finding:
    """OPERATOR_VALIDATION: the officer is known, active, of the centre, and proved who they are."""
    if case.view.meta.operation("officerId") is None:
        return domain.OFFICER_MISSING
    if not _is_at_centre(case.officer, case):
        return domain.OFFICER_NOT_AT_CENTRE
    if case.officer is not None and not case.officer.active:
        return domain.OFFICER_INACTIVE
    return domain.OFFICER_VALID if _is_verified(case.view, "officer") else domain.OFFICER_UNVERIFIED


def check_supervisor(case: Case) -> Finding:
    """SUPERVISOR_VALIDATION: the same for the supervisor."""
    if case.view.meta.operation("supervisorId") is None:
        return domain.SUPERVISOR_MISSING
    if not _is_at_centre(case.supervisor, case):
        return domain.SUPERVISOR_NOT_AT_CENTRE
    if case.supervisor is not None and not case.supervisor.active:
        return domain.SUPERVISOR_INACTIVE
    return domain.SUPERVISOR_VALID if _is_verified(case.view, "supervisor") else domain.SUPERVISOR_UNVERIFIED


def _is_at_centre(operator: Operator | None, case: Case) -> bool:
    return operator is not None and case.centre is not None and operator.centre == case.centre.id


def _is_verified(view: PacketView, who: str) -> bool:
    proofs = (view.meta.operation(f"{who}Password"), view.meta.operation(f"{who}OTPAuthentication"))
    return "true" in proofs


def judge_quality(case: Case) -> Finding:
    """QUALITY_CLASSIFIER: the lowest score of each modality, as the client measured it."""
    scores = [record.quality for record in case.records or () if record.modality in _JUDGED and not record.exception]
    return domain.QUALITY_LOW if min(scores, default=100) < LOWEST_QUALITY else domain.QUALITY_GOOD


STAGES: tuple[Callable[[Case], Finding], ...] = (
    validate,
    classify,
    check_origin,
    check_officer,
    check_supervisor,
    judge_quality,
)

_FAULTS = {
    PacketFault.UNDECRYPTABLE: domain.UNDECRYPTABLE,
    PacketFault.NOT_A_ZIP: domain.FILES_INVALID,
    PacketFault.ZIP_BOMB: domain.FILES_INVALID,
    PacketFault.UNSAFE_NAME: domain.FILES_INVALID,
    PacketFault.FILE_MISSING: domain.FILES_INVALID,
    PacketFault.FILE_UNEXPECTED: domain.FILES_INVALID,
    PacketFault.HASH_MISMATCH: domain.HASH_DIFFERS,
    PacketFault.MALFORMED: domain.PACKET_INVALID,
    PacketFault.INTEGRITY: domain.PACKET_INVALID,
    PacketFault.SIGNATURE: domain.PACKET_INVALID,
    PacketFault.CLAIM_MISMATCH: domain.CLAIM_DIFFERS,
}


def refusal(problem: InvalidPacket) -> Finding:
    """Return the finding for a packet that the reader refused."""
    return _FAULTS[problem.fault]


def fingers(records: Sequence[BiometricRecord]) -> list[BiometricRecord]:
    """Return the captured fingers: all that deduplication ever sees."""
    return [record for record in records if record.modality is Modality.FINGER and not record.exception]
