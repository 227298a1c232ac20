"""The words of the registration processor, and the pure rules that map its inner state to the wire's status words.

Source: registration sections 4.3 and 4.7, Appendix A2. Comments are verbatim because clients match on them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MAX_UPLOADS = 10
"""Uploads of one packet after which no RESEND is asked for any more (``max.retry``)."""
STUCK_AFTER = timedelta(seconds=900)
"""A received packet that did not move for so long is asked for again (``reprocess.elapse.time``)."""
MAX_FAILURES = 20
"""Attempts at processing that may fail for a technical reason (``attempt.count``)."""


class Process(StrEnum):
    """Processes that are worked on."""

    NEW = "NEW"


class Status(StrEnum):
    """Where a registration stands (``registration.status_code``)."""

    PROCESSING = "PROCESSING"
    PROCESSED = "PROCESSED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    REPROCESS = "REPROCESS"
    REPROCESS_FAILED = "REPROCESS_FAILED"
    PAUSED = "PAUSED"


class TransactionType(StrEnum):
    """The standard names of the steps."""

    PACKET_RECEIVER = "PACKET_RECEIVER"
    SECUREZONE_NOTIFICATION = "SECUREZONE_NOTIFICATION"
    UPLOAD_PACKET = "UPLOAD_PACKET"
    VALIDATE_PACKET = "VALIDATE_PACKET"
    PACKET_CLASSIFICATION = "PACKET_CLASSIFICATION"
    CMD_VALIDATION = "CMD_VALIDATION"
    OPERATOR_VALIDATION = "OPERATOR_VALIDATION"
    SUPERVISOR_VALIDATION = "SUPERVISOR_VALIDATION"
    QUALITY_CLASSIFIER = "QUALITY_CLASSIFIER"
    DEMOGRAPHIC_VERIFICATION = "DEMOGRAPHIC_VERIFICATION"
    BIOGRAPHIC_VERIFICATION = "BIOGRAPHIC_VERIFICATION"
    MANUAL_ADJUDICATION = "MANUAL_ADJUDICATION"
    VERIFICATION = "VERIFICATION"
    UIN_GENERATOR = "UIN_GENERATOR"
    BIOMETRIC_EXTRACTION = "BIOMETRIC_EXTRACTION"
    FINALIZATION = "FINALIZATION"
    PACKET_REPROCESS = "PACKET_REPROCESS"
    WORKFLOW_RESUME = "WORKFLOW_RESUME"
    INTERNAL_WORKFLOW_ACTION = "INTERNAL_WORKFLOW_ACTION"

    @property
    def stage(self) -> str:
        """The name of the stage that does the step (``reg_stage_name``)."""
        return _STAGES[self]


_STAGES = {
    TransactionType.PACKET_RECEIVER: "PacketReceiverStage",
    TransactionType.SECUREZONE_NOTIFICATION: "SecurezoneNotificationStage",
    TransactionType.UPLOAD_PACKET: "PacketUploaderStage",
    TransactionType.VALIDATE_PACKET: "PacketValidatorStage",
    TransactionType.PACKET_CLASSIFICATION: "PacketClassifierStage",
    TransactionType.CMD_VALIDATION: "CMDValidatorStage",
    TransactionType.OPERATOR_VALIDATION: "OperatorValidatorStage",
    TransactionType.SUPERVISOR_VALIDATION: "SupervisorValidatorStage",
    TransactionType.QUALITY_CLASSIFIER: "QualityClassifierStage",
    TransactionType.DEMOGRAPHIC_VERIFICATION: "DemoDedupeStage",
    TransactionType.BIOGRAPHIC_VERIFICATION: "BioDedupeStage",
    TransactionType.MANUAL_ADJUDICATION: "ManualAdjudicationStage",
    TransactionType.VERIFICATION: "VerificationStage",
    TransactionType.UIN_GENERATOR: "UinGeneratorStage",
    TransactionType.BIOMETRIC_EXTRACTION: "BiometricExtractionStage",
    TransactionType.FINALIZATION: "FinalizationStage",
    TransactionType.PACKET_REPROCESS: "ReprocessorStage",
    TransactionType.WORKFLOW_RESUME: "WorkflowActionApi",
    TransactionType.INTERNAL_WORKFLOW_ACTION: "WorkflowInternalActionVerticle",
}


class Outcome(StrEnum):
    """How a step ended (``registration_transaction.status_code``)."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    REPROCESS = "REPROCESS"
    IN_PROGRESS = "IN_PROGRESS"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step found. ``ends`` is the status that the registration takes when processing stops here."""

    type: TransactionType
    outcome: Outcome
    code: str
    comment: str
    ends: Status | None = None


def _passed(type: TransactionType, code: str, comment: str) -> Finding:
    return Finding(type, Outcome.SUCCESS, code, comment)


def _failed(type: TransactionType, code: str, comment: str) -> Finding:
    return Finding(type, Outcome.FAILED, code, comment, Status.FAILED)


_T = TransactionType

RECEIVED = _passed(_T.PACKET_RECEIVER, "RPR-PKR-SUCCESS-001", "Packet has reached Packet Receiver")
IN_SECURE_ZONE = _passed(_T.SECUREZONE_NOTIFICATION, "RPR-SEN-SUCCESS-001", "Notification received to securezone")
STORED = _passed(_T.UPLOAD_PACKET, "RPR-PKU-SUCCESS-001", "Packet is Uploaded to Packet Store")
CHECKSUM_DIFFERS = _failed(_T.UPLOAD_PACKET, "RPR-PKU-FAILED-005", "Packet Hash Code Validation Failed")
UNDECRYPTABLE = _failed(_T.UPLOAD_PACKET, "RPR-PKU-FAILED-007", "Packet Decryption Failed")

VALID = _passed(_T.VALIDATE_PACKET, "RPR-PKV-SUCCESS-001", "Packet Validation is Successful")
FILES_INVALID = _failed(_T.VALIDATE_PACKET, "RPR-PKV-FAILED-001", "File Validation Failed")
SCHEMA_INVALID = _failed(_T.VALIDATE_PACKET, "RPR-PKV-FAILED-002", "Schema Validation Failed")
HASH_DIFFERS = _failed(_T.VALIDATE_PACKET, "RPR-PKV-FAILED-003", "Check Sum Validation Failed")
BIOMETRICS_MISSING = _failed(_T.VALIDATE_PACKET, "RPR-PKV-FAILED-004", "Individual Biometric Validation Failed")
FIELDS_MISSING = _failed(_T.VALIDATE_PACKET, "RPR-PKV-FAILED-009", "Mandatory Fields are Not Present in ID Object")
CLAIM_DIFFERS = _failed(_T.VALIDATE_PACKET, "RPR-PKV-FAILED-010", "RID & Type not matched from sync table")
SUPERVISOR_REJECTED = Finding(
    _T.VALIDATE_PACKET, Outcome.REJECTED, "RPR-PKV-FAILED-011", "Rejected by Supervisor", Status.REJECTED
)
PACKET_INVALID = _failed(_T.VALIDATE_PACKET, "RPR-PKV-FAILED-012", "Packet validation failed in packet manager")
BIOMETRICS_UNREADABLE = _failed(_T.VALIDATE_PACKET, "RPR-PKV-FAILED-013", "Biometric file validation failed")
CBEFF_INVALID = _failed(_T.VALIDATE_PACKET, "RPR-PKV-FAILED-015", "XSD validation failed.")
NO_CONSENT = _failed(
    _T.VALIDATE_PACKET, "RPR-PKV-FAILED-017", "Consent is not agreed for the packet to process further"
)

CLASSIFIED = _passed(_T.PACKET_CLASSIFICATION, "RPR-PKCSUCCESS-001", "Packet Classification is Successful")

ORIGIN_VALID = _passed(_T.CMD_VALIDATION, "RPR-CMD-SUCCESS-001", "CMD Validation is Successful")
CENTRE_UNKNOWN = _failed(_T.CMD_VALIDATION, "RPR-CMD-FAILED-002", "Center ID Not Found in Master DB -")
CENTRE_INACTIVE = _failed(_T.CMD_VALIDATION, "RPR-CMD-FAILED-003", "Center was InActive during Packet Creation -")
MACHINE_UNKNOWN = _failed(_T.CMD_VALIDATION, "RPR-CMD-FAILED-004", "Machine ID Not Found in Master DB -")
MACHINE_INACTIVE = _failed(_T.CMD_VALIDATION, "RPR-CMD-FAILED-005", "Machine ID was InActive during Packet Creation -")
TIME_INVALID = _failed(_T.CMD_VALIDATION, "RPR-CMD-FAILED-011", "Registration Center timestamp failed")

OFFICER_VALID = _passed(_T.OPERATOR_VALIDATION, "RPR-OVM-SUCCESS-001", "OPERATOR Validation is Successful")
OFFICER_INACTIVE = _failed(_T.OPERATOR_VALIDATION, "RPR-OVM-FAILED-001", "OfficerId is inActive")
OFFICER_UNVERIFIED = _failed(
    _T.OPERATOR_VALIDATION, "RPR-OVM-FAILED-003", "Password or OTP Verification Failed for Officer -"
)
OFFICER_NOT_AT_CENTRE = _failed(
    _T.OPERATOR_VALIDATION, "RPR-OVM-FAILED-004", "Officer was Not Active during Packet Creation -"
)
OFFICER_MISSING = _failed(_T.OPERATOR_VALIDATION, "RPR-OVM-FAILED-005", "Officer ID is NULL")

SUPERVISOR_VALID = _passed(_T.SUPERVISOR_VALIDATION, "RPR-SVM-SUCCESS-001", "SUPERVISOR Validation is Successful")
SUPERVISOR_INACTIVE = _failed(_T.SUPERVISOR_VALIDATION, "RPR-SVM-FAILED-001", "SupervisorId is inActive")
SUPERVISOR_NOT_AT_CENTRE = _failed(
    _T.SUPERVISOR_VALIDATION, "RPR-SVM-FAILED-004", "Supervisor was Not Active during Packet Creation -"
)
SUPERVISOR_UNVERIFIED = _failed(
    _T.SUPERVISOR_VALIDATION, "RPR-SVM-FAILED-005", "Password or OTP Verification Failed for Supervisor -"
)
SUPERVISOR_MISSING = _failed(_T.SUPERVISOR_VALIDATION, "RPR-OVM-FAILED-006", "Supervisor ID is NULL")

QUALITY_GOOD = _passed(_T.QUALITY_CLASSIFIER, "RPR-QCK-SUCCESS-002", "Biometric Quality Check is Successful")
QUALITY_LOW = _failed(
    _T.QUALITY_CLASSIFIER,
    "RPR-QCK-FAILED-001",
    "Quality Score of Biometrics Captured is Below the Threshold",
)

DEMOGRAPHICS_UNIQUE = _passed(_T.DEMOGRAPHIC_VERIFICATION, "RPR-DDP-SUCCESS-001", "Demo Dedupe is Successful")
DEMOGRAPHICS_AND_FINGERS_MATCH = Finding(
    _T.DEMOGRAPHIC_VERIFICATION,
    Outcome.FAILED,
    "RPR-DDP-FAILED-001",
    "Biometric Duplicate was Found in ABIS",
    Status.PAUSED,
)
DEMOGRAPHICS_MATCH = Finding(
    _T.DEMOGRAPHIC_VERIFICATION,
    Outcome.FAILED,
    "RPR-DDP-FAILED-002",
    "Potential Demo Match was Found",
    Status.PAUSED,
)
FINGERS_UNIQUE = _passed(_T.BIOGRAPHIC_VERIFICATION, "RPR-BDP-SUCCESS-002", "Biometric Deduplication is Successful")
FINGERS_MATCH = Finding(
    _T.BIOGRAPHIC_VERIFICATION,
    Outcome.FAILED,
    "RPR-BDP-FAILED-001",
    "Potential Biometric Match Found while Processing Packet",
    Status.PAUSED,
)
AWAITS_ADJUDICATION = Finding(
    _T.MANUAL_ADJUDICATION,
    Outcome.IN_PROGRESS,
    "RPR-MVS-002",
    "Manual verification request sent to queue",
    Status.PAUSED,
)
AWAITS_VERIFICATION = Finding(
    _T.VERIFICATION, Outcome.IN_PROGRESS, "RPR-VER-003", "Sent for verification", Status.PAUSED
)

UIN_MINTED = _passed(_T.UIN_GENERATOR, "RPR-UIN-SUCCESS-001", "UIN Generated Successfully")
UIN_REFUSED = _failed(_T.UIN_GENERATOR, "RPR-UIN-FAILED-004", "UIN Generation failed -")
EXTRACTED = _passed(_T.BIOMETRIC_EXTRACTION, "RPR-BEN-SUCCESS-001", "biometric extaction was successful")
FINALIZED = _passed(_T.FINALIZATION, "RPR-FIN-SUCCESS-001", "idrepo draft was published  successfuly")

RESTARTED = _passed(_T.WORKFLOW_RESUME, "RPR-WAS-001", "Packet workflow resume  successfully")
STOPPED = Finding(
    _T.INTERNAL_WORKFLOW_ACTION,
    Outcome.REJECTED,
    "RPR-WIA-001",
    "Packet workflow internal action completed successfully",
    Status.REJECTED,
)
GIVEN_UP = Finding(
    _T.PACKET_REPROCESS,
    Outcome.FAILED,
    "RPR-RPS-FAILED-001",
    "Reprocess count has exceeded the configured attempts",
    Status.REPROCESS_FAILED,
)


def interrupted(at: TransactionType) -> Finding:
    """Return the finding of a step that a technical problem interrupted; it is tried again."""
    return Finding(at, Outcome.REPROCESS, "RPR-SYS-EXCEPTION-001", "Unknown exception occured", Status.REPROCESS)


def retry_delay(failures: int) -> timedelta:
    """Return how long to wait after that many failures: 2 s, 4 s, ... up to 15 minutes."""
    return timedelta(seconds=min(2**failures, 900))


class External(StrEnum):
    """The status words that clients see."""

    PROCESSING = "PROCESSING"
    PROCESSED = "PROCESSED"
    RECEIVED = "RECEIVED"
    ACCEPTED = "ACCEPTED"
    RESEND = "RESEND"
    REREGISTER = "REREGISTER"
    REJECTED = "REJECTED"
    UPLOAD_PENDING = "UPLOAD_PENDING"
    UIN_GENERATED = "UIN_GENERATED"


COLLAPSED = frozenset({External.UIN_GENERATED, External.REREGISTER, External.REJECTED})
"""Words that the status search shows as PROCESSED, so that a client may forget its packet."""

_IN_PROGRESS = frozenset({Status.PROCESSING, Status.PAUSED, Status.REPROCESS})
_BEFORE_PACKET_STORE = frozenset({None, _T.PACKET_RECEIVER.stage, _T.SECUREZONE_NOTIFICATION.stage})
_AT_THE_GATE = frozenset({_T.PACKET_RECEIVER, _T.SECUREZONE_NOTIFICATION, _T.UPLOAD_PACKET})


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a registration stands, as its status words are worked out from it."""

    status: Status
    latest_type: TransactionType
    latest_at: datetime
    last_success_stage: str | None
    retry_count: int

    def _is_stuck(self, now: datetime) -> bool:
        return self.latest_type is TransactionType.PACKET_RECEIVER and now - self.latest_at > STUCK_AFTER

    def _may_resend(self) -> bool:
        return self.retry_count < MAX_UPLOADS

    def external(self, now: datetime) -> External:
        """Return the registration's external status (section 4.7)."""
        if self.status is Status.PROCESSED:
            return External.UIN_GENERATED
        if self.status in _IN_PROGRESS:
            if self._is_stuck(now):
                return External.RESEND if self._may_resend() else External.REREGISTER
            return External.PROCESSING if self.last_success_stage in _BEFORE_PACKET_STORE else External.PROCESSED
        if self.status is Status.FAILED:
            came_in = self.latest_type in {TransactionType.PACKET_RECEIVER, TransactionType.UPLOAD_PACKET}
            return External.RESEND if came_in and self._may_resend() else External.REREGISTER
        return External.REJECTED

    def packet_external(self, now: datetime) -> External:
        """Return the packet's external status (section 4.7)."""
        if self.latest_type not in _AT_THE_GATE:
            return External.ACCEPTED
        if self.status in {Status.PROCESSING, Status.REPROCESS}:
            if not self._is_stuck(now):
                return External.RECEIVED
            return External.RESEND if self._may_resend() else External.REJECTED
        if self.status is Status.FAILED:
            return External.RESEND if self._may_resend() else External.REJECTED
        return External.ACCEPTED if self.latest_type is TransactionType.UPLOAD_PACKET else External.RECEIVED
