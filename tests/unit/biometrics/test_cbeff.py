from datetime import UTC, datetime, timedelta, timezone

import pytest
from lxml import etree

from civium.biometrics import cbeff
from civium.biometrics.api import (
    BiometricRecord,
    CaptureNotes,
    InvalidBiometrics,
    Modality,
    compose_cbeff,
    compose_single,
    credential_key,
    merge,
    missing_mandatory,
    parse_cbeff,
)

AT = datetime(2022, 7, 27, 15, 29, 22, 987808, tzinfo=UTC)
NS = "http://standards.iso.org/iso-iec/19785/-3/ed-2/"
THUMB = BiometricRecord(
    Modality.FINGER,
    "Left Thumb",
    b"FIR thumb",
    77,
    signature=b"eyJ..sig",
    notes=CaptureNotes(2, 63.5, True, '{"bioValue":"<bioValue>"}', "0.9.5"),
)
FACE = BiometricRecord(Modality.FACE, "", b"FAC face", 90)
PHOTO = BiometricRecord(Modality.EXCEPTION_PHOTO, "", b"FAC photo", 5)
MISSING = BiometricRecord(Modality.IRIS, "Right", b"", exception=True)


def document(bir: str, root: str = "BIR") -> bytes:
    return f'<{root} xmlns="{NS}"><BIRInfo><Integrity>false</Integrity></BIRInfo>{bir}</{root}>'.encode()


def bir(
    *,
    kind: str = "<Type>Finger</Type>",
    subtype: str = "Left IndexFinger",
    form: str = "7",
    bdb: str = "<BDB>AAEC</BDB>",
    quality: str = "<Quality><Algorithm><Organization>HMAC</Organization><Type>SHA-256</Type></Algorithm><Score>80</Score></Quality>",
    created: str = "2022-07-27T15:29:22.987808900Z",
    tail: str = "",
) -> str:
    return (
        "<BIR><Version><Major>1</Major><Minor>1</Minor></Version><CBEFFVersion><Major>1</Major><Minor>1</Minor></CBEFFVersion>"
        "<BIRInfo><Integrity>false</Integrity></BIRInfo><BDBInfo><Index>6f3f5b5e-1c44-4a4c-8a52-0a8f5b1d9a11</Index>"
        f"<Format><Organization>Mosip</Organization><Type>{form}</Type></Format><CreationDate>{created}</CreationDate>"
        f"{kind}<Subtype>{subtype}</Subtype><Level>Raw</Level><Purpose>Enroll</Purpose>{quality}</BDBInfo>{bdb}{tail}</BIR>"
    )


def test_a_client_document_is_read() -> None:
    others = (
        '<SB>ZXlKLi5zaWc=</SB><others><entry key="EXCEPTION">false</entry><entry key="RETRIES">1</entry>'
        '<entry key="SDK_SCORE">0.0</entry><entry key="FORCE_CAPTURED">false</entry>'
        '<entry key="PAYLOAD">{}</entry><entry key="SPEC_VERSION">0.9.5</entry></others>'
    )
    outer = '<others><entry key="CONFIGURED">leftIndex,face</entry></others>'
    (record,) = parse_cbeff(document(bir(tail=others) + outer))
    assert record == BiometricRecord(
        Modality.FINGER,
        "Left IndexFinger",
        b"\0\1\2",
        80,
        signature=b"eyJ..sig",
        notes=CaptureNotes(payload="{}", spec_version="0.9.5"),
        created=AT,
    )


def test_a_written_document_has_the_elements_of_the_client_in_order() -> None:
    root = etree.fromstring(compose_cbeff([THUMB], AT))
    names = [etree.QName(element).localname for element in root.iter()]
    assert names == [
        "BIR",
        "BIRInfo",
        "Integrity",
        "BIR",
        "Version",
        "Major",
        "Minor",
        "CBEFFVersion",
        "Major",
        "Minor",
        "BIRInfo",
        "Integrity",
        "BDBInfo",
        "Index",
        "Format",
        "Organization",
        "Type",
        "CreationDate",
        "Type",
        "Subtype",
        "Level",
        "Purpose",
        "Quality",
        "Algorithm",
        "Organization",
        "Type",
        "Score",
        "BDB",
        "SB",
        "others",
        "entry",
        "entry",
        "entry",
        "entry",
        "entry",
        "entry",
    ]
    assert all(etree.QName(element).namespace == NS for element in root.iter())
    texts = list(root.itertext())
    for expected in (
        "Mosip",
        "7",
        "2022-07-27T15:29:22.987808Z",
        "Left Thumb",
        "Raw",
        "Enroll",
        "HMAC",
        "SHA-256",
        "77",
    ):
        assert expected in texts
    entries = {entry.get("key"): entry.text for entry in root.iter(f"{{{NS}}}entry")}
    assert entries == {
        "EXCEPTION": "false", "RETRIES": "2", "SDK_SCORE": "63.5", "FORCE_CAPTURED": "true",
        "PAYLOAD": '{"bioValue":"<bioValue>"}', "SPEC_VERSION": "0.9.5",
    }  # fmt: skip


def test_an_exception_is_written_without_data() -> None:
    root = etree.fromstring(compose_cbeff([MISSING], AT))
    assert root.find(f".//{{{NS}}}BDB").text is None
    assert root.find(f".//{{{NS}}}entry[@key='EXCEPTION']").text == "true"


def test_a_record_keeps_its_own_date() -> None:
    (first,) = parse_cbeff(compose_cbeff([FACE], AT))
    (second,) = parse_cbeff(compose_cbeff([first], AT + timedelta(days=9)))
    assert second.created == AT
    (alone,) = parse_cbeff(compose_single(FACE))
    assert alone == FACE


def test_offsets_are_converted() -> None:
    (record,) = parse_cbeff(document(bir(created="2022-07-27T17:29:22.987808+02:00")))
    assert record.created == AT
    later = compose_cbeff([FACE], AT.astimezone(timezone(timedelta(hours=5))))
    assert b"2022-07-27T15:29:22.987808Z" in later


def test_credential_names() -> None:
    assert [credential_key(record) for record in (THUMB, MISSING, FACE)] == ["Finger_Left Thumb", "Iris_Right", "Face"]


def test_type_is_read_without_regard_to_case_and_base64_of_both_alphabets() -> None:
    (record,) = parse_cbeff(document(bir(kind="<Type>fINGER</Type>", bdb="<BDB>\n _-8 </BDB>", form="2")))
    assert (record.modality, record.bdb) == (Modality.FINGER, b"\xff\xef")


def test_a_failed_quality_is_zero() -> None:
    failed = "<Quality><QualityCalculationFailed>x</QualityCalculationFailed></Quality>"
    assert parse_cbeff(document(bir(quality=failed)))[0].quality == 0


@pytest.mark.parametrize(
    ("xml", "rule"),
    [
        (b"", "well-formed"),
        (b"not xml", "well-formed"),
        (document(""), "BIR value is null"),
        (document(bir(), root="RIB"), "root element"),
        (document(bir()).replace(NS.encode(), b"urn:other"), "root element"),
        (document(bir(bdb="")), "BDB value can't be empty"),
        (document(bir(bdb="<BDB>!!</BDB>")), "base64"),
        (document(bir(kind="")), "Type value needs"),
        (document(bir(kind="<Type>Gait</Type>")), "not supported"),
        (document(bir(subtype="UNKNOWN")), "subtype"),
        (document(bir(subtype="Left")), "subtype"),
        (document(bir(form="9")), "Patron Format"),
        (document(bir(form="")), "Patron Format"),
        (document(bir(quality="<Quality><Score>101</Score></Quality>")), "Score"),
        (document(bir(quality="<Quality><Score>-1</Score></Quality>")), "Score"),
        (document(bir(quality="<Quality><Score>²</Score></Quality>")), "Score"),
        (document(bir(created="yesterday")), "CreationDate"),
        (document(bir(created="2022-07-27T15:29:22")), "CreationDate"),
        (document(bir(created="0001-01-01T00:00:00+14:00")), "CreationDate"),
        (document(bir(tail="<SB>?</SB>")), "base64"),
        (document(bir(tail="<Extra/>")), "XSD"),
        (document(bir(tail="<BDB>AAEC</BDB>")), "XSD"),
        (document(bir(tail=bir())), "XSD"),
        (document(f"<BIR><BIRInfo/><BDBInfo/>{bir()}</BIR>"), "nested"),
        (document("<BIR><BIRInfo/><BDB>AAEC</BDB></BIR>"), "BDB information"),
        (document(bir(tail='<others><entry key="EXCEPTION">maybe</entry></others>')), "true nor false"),
        (document(bir(tail='<others><entry key="RETRIES">many</entry></others>')), "not a number"),
        (document(bir(tail='<others><entry key="SDK_SCORE">nan</entry></others>')), "out of range"),
        (document(bir(tail='<others><entry key="A">1</entry><entry key="A">2</entry></others>')), "single entry"),
        (document(bir(tail="<others><entry>1</entry></others>")), "single entry"),
        (document(bir() * 65), "too many"),
    ],
)
def test_malformed_documents_are_refused(xml: bytes, rule: str) -> None:
    with pytest.raises(InvalidBiometrics, match=rule):
        parse_cbeff(xml)


def test_an_exception_needs_no_data() -> None:
    tail = '<others><entry key="EXCEPTION">true</entry></others>'
    assert parse_cbeff(document(bir(bdb="<BDB/>", tail=tail)))[0].exception


def test_billion_laughs_are_refused() -> None:
    entities = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    xml = f'<!DOCTYPE BIR [{entities}]><BIR xmlns="{NS}">&a11;</BIR>'.encode()
    with pytest.raises(InvalidBiometrics):
        parse_cbeff(xml)


@pytest.mark.parametrize("external", ["SYSTEM 'file:///etc/passwd'", "SYSTEM 'http://127.0.0.1:9/x'"])
def test_external_entities_are_refused(external: str) -> None:
    doctype = f"<!DOCTYPE BIR [<!ENTITY x {external}>]>".encode()
    with pytest.raises(InvalidBiometrics, match="document type"):
        parse_cbeff(doctype + document(bir(subtype="&x;")))
    with pytest.raises(InvalidBiometrics, match="document type"):
        parse_cbeff(f"<!DOCTYPE BIR {external}>".encode() + document(bir()))


def test_a_harmless_doctype_is_refused_too() -> None:
    with pytest.raises(InvalidBiometrics, match="document type"):
        parse_cbeff(b"<!DOCTYPE BIR>" + document(bir()))


def test_depth_and_size_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidBiometrics, match="well-formed"):
        parse_cbeff(document("<BIR>" * 100_000 + "</BIR>" * 100_000))
    monkeypatch.setattr(cbeff, "MAX_DOCUMENT", 1000)
    with pytest.raises(InvalidBiometrics, match="too large"):
        parse_cbeff(document(bir(bdb=f"<BDB>{'A' * 1000}</BDB>")))


@pytest.mark.parametrize(
    "record",
    [
        BiometricRecord(Modality.FINGER, "Left Thumb", b""),
        BiometricRecord(Modality.FINGER, "Left Thumb", b"data", exception=True),
        BiometricRecord(Modality.FINGER, "Left", b"data"),
        BiometricRecord(Modality.FACE, "Left", b"data"),
        BiometricRecord(Modality.FACE, "", b"data", 101),
        BiometricRecord(Modality.FACE, "", b"data", notes=CaptureNotes(payload="\x00")),
    ],
)
def test_records_that_no_reader_accepts_are_not_written(record: BiometricRecord) -> None:
    with pytest.raises(InvalidBiometrics):
        compose_cbeff([record], AT)


def test_an_empty_document_is_not_written() -> None:
    with pytest.raises(InvalidBiometrics, match="null"):
        compose_cbeff([], AT)


def test_merge_replaces_namesakes_and_keeps_the_rest() -> None:
    newer = BiometricRecord(Modality.FINGER, "Left Thumb", b"newer", 80)
    assert merge([THUMB, FACE], [MISSING, newer]) == [newer, FACE, MISSING]
    with pytest.raises(InvalidBiometrics, match="twice"):
        merge([THUMB], [newer, newer])
    with pytest.raises(InvalidBiometrics, match="twice"):
        merge([THUMB, newer], [])


def test_mandatory_biometrics_are_present_or_excepted(person: list[BiometricRecord]) -> None:
    assert missing_mandatory(person) == []
    without = [record for record in person if record.key not in {(Modality.FACE, ""), (Modality.IRIS, "Left")}]
    assert missing_mandatory(without) == [(Modality.IRIS, "Left")]
    excepted = [*without, BiometricRecord(Modality.IRIS, "Left", b"", exception=True)]
    assert missing_mandatory(excepted) == []
    assert (Modality.EXCEPTION_PHOTO, "") in missing_mandatory([])
    assert len(missing_mandatory([])) == 13


def test_biometric_data_is_not_shown() -> None:
    assert "thumb" not in repr(THUMB)
    assert "sig" not in repr(THUMB).replace("signature", "")
    assert "bioValue" not in repr(THUMB)
    assert PHOTO.key == (Modality.EXCEPTION_PHOTO, "")
