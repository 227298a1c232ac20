"""CBEFF XML as the platform's clients write it (biometrics A1, registration §1.8).

A document is one outer BIR that holds one BIR per finger, eye and photo. Documents come from outside: DTD, entities and
network are off, size and depth are limited, and every deviation is an :class:`InvalidBiometrics`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from lxml import etree

from civium.biometrics.domain import SUBTYPES, BiometricRecord, CaptureNotes, InvalidBiometrics, Modality
from civium.kernel.clock import parse_instant
from civium.kernel.encoding import b64, unb64

MAX_DOCUMENT: Final = 20 * 1024 * 1024
MAX_RECORDS: Final = 64
_NAMESPACE: Final = "http://standards.iso.org/iso-iec/19785/-3/ed-2/"
_ALLOWED_FORMATS: Final = {
    Modality.FINGER: ("7", "2"),
    Modality.IRIS: ("9",),
    Modality.FACE: ("8",),
    Modality.EXCEPTION_PHOTO: ("8",),
}
"""Format.Type values per modality; the first is the one written."""

_MODALITIES: Final = {modality.value.lower(): modality for modality in Modality}

_BIR_ORDER: Final = ("Version", "CBEFFVersion", "BIRInfo", "BDBInfo", "SBInfo", "BIR", "BDB", "SB", "others")
_BDB_INFO_ORDER: Final = (
    "ChallengeResponse", "Index", "Format", "Encryption", "CreationDate", "NotValidBefore", "NotValidAfter", "Type",
    "Subtype", "Level", "Product", "CaptureDevice", "FeatureExtractionAlgorithm", "ComparisonAlgorithm",
    "CompressionAlgorithm", "Purpose", "Quality",
)  # fmt: skip


def parse(xml: bytes) -> list[BiometricRecord]:
    """Return the records of a document in its order. Cost: linear in its size.

    Raises InvalidBiometrics for anything that is not such a document: DTD, depth, size, unknown types, missing parts.
    """
    root = _root(xml)
    _require_order(root, _BIR_ORDER)
    children = root.findall(_tag("BIR"))
    if not children:
        raise InvalidBiometrics("BIR value is null")
    if len(children) > MAX_RECORDS:
        raise InvalidBiometrics("too many BIR elements")
    return [_record(child) for child in children]


def compose(records: Iterable[BiometricRecord], created: datetime) -> bytes:
    """Return the document of these records; a record without a date of its own gets ``created``.

    Raises InvalidBiometrics for a record that no reader would accept.
    """
    return _document([replace(record, created=record.created or created) for record in records])


def compose_single(record: BiometricRecord) -> bytes:
    """Return the document that an auth credential carries for one biometric; :func:`credential_key` is its name."""
    return _document([record])


def credential_key(record: BiometricRecord) -> str:
    """Return a record's name in the auth credential: ``Finger_Left Thumb``, ``Iris_Right``, ``Face``."""
    return f"{record.modality}_{record.subtype}" if record.subtype else record.modality.value


# --- reading


def _root(xml: bytes) -> etree._Element:
    if len(xml) > MAX_DOCUMENT:
        raise InvalidBiometrics("the document is too large")
    # Without huge_tree libxml2 itself limits depth (256), text nodes (10 MB) and entity amplification.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(xml, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise InvalidBiometrics("not well-formed XML") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise InvalidBiometrics("a document type declaration is not allowed")
    if root.tag != _tag("BIR"):
        raise InvalidBiometrics("the root element is not a CBEFF BIR")
    return root


def _record(bir: etree._Element) -> BiometricRecord:
    _require_order(bir, _BIR_ORDER)
    if bir.find(_tag("BIR")) is not None:
        raise InvalidBiometrics("a BIR is nested too deeply")
    info = bir.find(_tag("BDBInfo"))
    if info is None:
        raise InvalidBiometrics("BDB information can't be empty")
    _require_order(info, _BDB_INFO_ORDER)
    modality = _modality(_text(info, "Type"))
    subtype = " ".join(_text(info, "Subtype").split())
    if subtype not in SUBTYPES[modality]:
        raise InvalidBiometrics("the subtype does not fit the type")
    if _text(info, "Format", "Type") not in _ALLOWED_FORMATS[modality]:
        raise InvalidBiometrics("Patron Format type is invalid")
    entries = _entries(bir)
    exception = _boolean(entries.get("EXCEPTION", "false"))
    bdb = _binary(bir, "BDB")
    if not bdb and not exception:
        raise InvalidBiometrics("BDB value can't be empty")
    return BiometricRecord(
        modality,
        subtype,
        bdb,
        quality=_score(info),
        exception=exception,
        signature=_binary(bir, "SB"),
        notes=_notes(entries),
        created=_instant(_text(info, "CreationDate")),
    )


def _require_order(element: etree._Element, order: Sequence[str]) -> None:
    """Refuse unknown children and children out of the schema's sequence; only BIR and others may repeat."""
    last = -1
    for child in element:
        name = str(child.tag).removeprefix(f"{{{_NAMESPACE}}}")
        position = order.index(name) if name in order else -1
        if position < last or position < 0 or (position == last and name not in {"BIR", "others"}):
            raise InvalidBiometrics("XSD validation failed: an element is unknown, repeated or out of order")
        last = position


def _modality(text: str) -> Modality:
    if not text:
        raise InvalidBiometrics("Type value needs to be provided")
    modality = _MODALITIES.get(text.lower())
    if modality is None:
        raise InvalidBiometrics("the biometric type is not supported")
    return modality


def _text(element: etree._Element, *path: str) -> str:
    found = element.find("/".join(_tag(name) for name in path))
    return "" if found is None or found.text is None else found.text.strip()


def _binary(bir: etree._Element, name: str) -> bytes:
    try:
        return unb64("".join(_text(bir, name).split()))
    except ValueError:
        raise InvalidBiometrics(f"{name} is not base64") from None


def _score(info: etree._Element) -> int:
    text = _text(info, "Quality", "Score") or "0"
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or int(text) > 100:
        raise InvalidBiometrics("Score is not a whole number from 0 to 100")
    return int(text)


def _entries(bir: etree._Element) -> dict[str, str]:
    entries: dict[str, str] = {}
    for others in bir.findall(_tag("others")):
        for entry in others:
            key = entry.get("key")
            if entry.tag != _tag("entry") or key is None or key in entries or len(entry):
                raise InvalidBiometrics("others holds something that is not a single entry of its key")
            entries[key] = entry.text or ""
    return entries


def _notes(entries: dict[str, str]) -> CaptureNotes | None:
    if not entries.keys() & {"RETRIES", "SDK_SCORE", "FORCE_CAPTURED", "PAYLOAD", "SPEC_VERSION"}:
        return None
    try:
        retries, sdk_score = int(entries.get("RETRIES") or "1"), float(entries.get("SDK_SCORE") or "0")
    except ValueError:
        raise InvalidBiometrics("RETRIES or SDK_SCORE is not a number") from None
    if not (0 <= retries <= 1000 and 0 <= sdk_score <= 100):
        raise InvalidBiometrics("RETRIES or SDK_SCORE is out of range")
    return CaptureNotes(
        retries=retries,
        sdk_score=sdk_score,
        force_captured=_boolean(entries.get("FORCE_CAPTURED", "false")),
        payload=entries.get("PAYLOAD", ""),
        spec_version=entries.get("SPEC_VERSION", ""),
    )


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise InvalidBiometrics("an entry of others is neither true nor false")
    return text.lower() == "true"


def _instant(text: str) -> datetime | None:
    try:
        return parse_instant(text) if text else None
    except (ValueError, OverflowError):
        raise InvalidBiometrics("CreationDate is not an instant") from None


# --- writing


def _document(records: Sequence[BiometricRecord]) -> bytes:
    if not records:
        raise InvalidBiometrics("BIR value is null")
    root = etree.Element(_tag("BIR"), nsmap={None: _NAMESPACE})  # type: ignore[dict-item]  # the stubs forget the default namespace
    _put(_put(root, "BIRInfo"), "Integrity", "false")
    for record in records:
        _compose_bir(_put(root, "BIR"), record)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True)


def _compose_bir(bir: etree._Element, record: BiometricRecord) -> None:
    _require_writable(record)
    for version in ("Version", "CBEFFVersion"):
        element = _put(bir, version)
        _put(element, "Major", "1")
        _put(element, "Minor", "1")
    _put(_put(bir, "BIRInfo"), "Integrity", "false")
    info = _put(bir, "BDBInfo")
    _put(info, "Index", str(uuid4()))
    _put_registry(_put(info, "Format"), "Mosip", _ALLOWED_FORMATS[record.modality][0])
    if record.created is not None:
        _put(info, "CreationDate", record.created.astimezone(UTC).isoformat().replace("+00:00", "Z"))
    _put(info, "Type", record.modality.value)
    _put(info, "Subtype", record.subtype)
    _put(info, "Level", "Raw")
    _put(info, "Purpose", "Enroll")
    quality = _put(info, "Quality")
    _put_registry(_put(quality, "Algorithm"), "HMAC", "SHA-256")
    _put(quality, "Score", str(record.quality))
    _put(bir, "BDB", b64(record.bdb))
    if record.signature:
        _put(bir, "SB", b64(record.signature))
    others = _put(bir, "others")
    _put_entry(others, "EXCEPTION", _truth(record.exception))
    if record.notes is not None:
        _put_entry(others, "RETRIES", str(record.notes.retries))
        _put_entry(others, "SDK_SCORE", str(record.notes.sdk_score))
        _put_entry(others, "FORCE_CAPTURED", _truth(record.notes.force_captured))
        _put_entry(others, "PAYLOAD", record.notes.payload)
        _put_entry(others, "SPEC_VERSION", record.notes.spec_version)


def _require_writable(record: BiometricRecord) -> None:
    if record.exception == bool(record.bdb):
        raise InvalidBiometrics("a BDB is empty if, and only if, the biometric is an exception")
    if record.subtype not in SUBTYPES[record.modality]:
        raise InvalidBiometrics("the subtype does not fit the type")
    if not 0 <= record.quality <= 100:
        raise InvalidBiometrics("Score is not a whole number from 0 to 100")


def _tag(name: str) -> str:
    return f"{{{_NAMESPACE}}}{name}"


def _put(parent: etree._Element, name: str, text: str | None = None) -> etree._Element:
    element = etree.SubElement(parent, _tag(name))
    element.text = text or None
    return element


def _put_registry(element: etree._Element, organization: str, kind: str) -> None:
    _put(element, "Organization", organization)
    _put(element, "Type", kind)


def _put_entry(others: etree._Element, key: str, value: str) -> None:
    try:
        _put(others, "entry", value).set("key", key)
    except ValueError:
        raise InvalidBiometrics("an entry of others holds characters that XML cannot") from None


def _truth(value: bool) -> str:
    return "true" if value else "false"
