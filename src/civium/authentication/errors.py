"""The codes and messages of id-authentication section 8 that this context gives. Spelling is the wire's, typos too."""

from dataclasses import dataclass

from civium.kernel.errors import Rejected


@dataclass(frozen=True, slots=True)
class Code:
    """A code of the wire, with its texts; ``%s`` marks the place of an argument."""

    code: str
    message: str
    action: str | None = None

    def of(self, *arguments: object) -> Rejected:
        """Return the rejection for these arguments. They name places and factors, never values of a person."""
        return Rejected(self.code, _fill(self.message, arguments), self.action and _fill(self.action, arguments))


def _fill(text: str, arguments: tuple[object, ...]) -> str:
    return text % arguments[: text.count("%s")]


OUTSIDE_WINDOW = Code(
    "IDA-MLC-001",
    "Request to be received at MOSIP within %s seconds",
    "Please send the request within %s seconds",
)
INVALID_UIN = Code("IDA-MLC-002", "Invalid UIN", "Please retry with the correct UIN")
INVALID_VID = Code("IDA-MLC-004", "Invalid VID", "Please retry with correct VID")
MISSING = Code("IDA-MLC-006", "Missing Input Parameter - %s")
NOT_PROCESSED = Code("IDA-MLC-007", "Request could not be processed. Please try again")
NO_FACTOR = Code("IDA-MLC-008", "No authentication type selected")
INVALID = Code("IDA-MLC-009", "Invalid Input Parameter - %s")
UNSUPPORTED_FACTOR = Code(
    "IDA-MLC-011", "Unsupported Authentication Type - %s", "Please use other Authentication Types in the request"
)
UNSUPPORTED_FOR_CHILD = Code(
    "IDA-MLC-011",
    "Unsupported Authentication Type for child - %s",
    "Please use other Authentication Types in the request",
)
NO_CONSENT = Code("IDA-MLC-012", "Individual's Consent is not available")
MISSING_ATTRIBUTE = Code("IDA-MLC-013", "Missing %s auth attribute")
ID_TYPE_NOT_CONFIGURED = Code("IDA-MLC-015", "Identity Type - %s not configured for the country")
ID_UNKNOWN = Code("IDA-MLC-018", "%s not available in database")
LOCKED = Code("IDA-MLC-019", "%s Auth Type is Locked for the UIN")
UIN_BLOCKED = Code("IDA-MLC-022", "UIN is deactivated/blocked")
VID_EXPIRED = Code("IDA-MLC-023", "VID is expired/deactivated")

OTP_FLOOD = Code("IDA-OTA-001", "Innumerous OTP requests received")
OTP_NOT_SENT = Code("IDA-OTA-002", "Could not generate/send OTP%s")
OTP_EXPIRED = Code("IDA-OTA-003", "OTP has expired", "Please regenerate OTP and try again after sometime")
OTP_WRONG = Code("IDA-OTA-004", "OTP is invalid", "Please provide correct OTP value")
OTP_OTHER_TRANSACTION = Code("IDA-OTA-005", "Input transactionID does not match transactionID of OTP Request")
OTP_NO_CHANNEL = Code("IDA-OTA-008", "OTP Notification Channel not provided")
OTP_OTHER_ID_TYPE = Code("IDA-OTA-010", "Input Identity Type does not match Identity Type of OTP Request")
OTP_OTHER_PARTNER = Code("IDA-OTA-011", "Input Partner-ID does not match Partner-ID of OTP Request")
OTP_NONE = Code("IDA-OTA-012", "OTP validation can't be performed against this Individual-ID. Generate OTP first.")
OTP_FROZEN = Code(
    "IDA-OTA-013",
    "OTP request/validation has been frozen for the Individual-ID for %s due to consecutive failure attempts "
    "for %s times.",
)

MISMATCH = Code("IDA-DEA-001", "Demographic data %s did not match", "Please re-enter your %s")
MISMATCH_IN_LANGUAGE = Code("IDA-DEA-001", "Demographic data %s in %s did not match", "Please re-enter your %s in %s")
UNSUPPORTED_LANGUAGE = Code("IDA-DEA-002", "Unsupported Language Code - %s", "Please provide valid Language")
NOT_STORED = Code("IDA-DEA-003", "Demographic data %s not available in database")
NOT_STORED_IN_LANGUAGE = Code("IDA-DEA-003", "Demographic data %s in %s not available in database")

BAD_SIGNATURE = Code("IDA-MPA-001", "Digital signature verification failed for %s")
REVOKED_CERTIFICATE = Code("IDA-MPA-002", "Invalid certificate in digital signature")
UNDECRYPTABLE = Code("IDA-MPA-003", "Unable to decrypt Request")
KEY_EXPIRED = Code("IDA-MPA-004", "MOSIP Public key expired")
OTP_NOT_ALLOWED = Code("IDA-MPA-005", "OTP Request Usage not allowed as per policy")
FACTOR_NOT_ALLOWED = Code(
    "IDA-MPA-006",
    "%s Authentication usage not allowed as per policy",
    "Please use other Authentication Types in the request",
)
LICENCE_UNKNOWN = Code("IDA-MPA-007", "License key does not belong to a registered MISP")
LICENCE_EXPIRED = Code("IDA-MPA-008", "License key of MISP has expired")
PARTNER_UNKNOWN = Code("IDA-MPA-009", "Partner is not registered")
PARTNER_INACTIVE = Code("IDA-MPA-012", "Partner is deactivated")
KYC_NOT_ALLOWED = Code("IDA-MPA-013", "Partner is unauthorised for eKYC")
FACTOR_MANDATORY = Code("IDA-MPA-015", "%s-authentiation usage is mandatory as per policy")
DIGEST_MISMATCH = Code("IDA-MPA-016", "HMAC Validation failed")
LICENCE_BLOCKED = Code("IDA-MPA-017", "License key of MISP is blocked")
POLICY_UNKNOWN = Code("IDA-MPA-018", "Policy ID does not belong to a registered Partner")
POLICY_INACTIVE = Code("IDA-MPA-019", "Partner policy is not active")
CERTIFICATE_OTHER = Code("IDA-MPA-021", "Partner (Auth) Certificate not matching with signature header certificate.")
PATH_SHORT = Code(
    "IDA-MPA-038",
    "Required Number of Path parameters are missing in URI",
    "Please try adding all the required path parameters.",
)
API_KEY_EXPIRED = Code("IDA-MPA-039", "Partner API is expired or using before Commence Start Date.")

KYC_NOT_ENCRYPTED = Code("IDA-EKA-001", "Unable to encrypt eKYC response")
