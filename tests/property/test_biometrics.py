"""CBEFF and ISO records: what is written is read, and hostile bytes give InvalidBiometrics and nothing else."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from civium.biometrics import images
from civium.biometrics.api import (
    BiometricRecord,
    CaptureNotes,
    InvalidBiometrics,
    Modality,
    compose_cbeff,
    compose_single,
    merge,
    parse_cbeff,
)
from civium.biometrics.domain import SUBTYPES
from civium.biometrics.iso import face, finger, iris, minutiae
from civium.biometrics.iso.records import Capture, QualityBlock

UNHURRIED = settings(deadline=None)

INSTANTS = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))
XML_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))
NOTES = st.builds(
    CaptureNotes,
    retries=st.integers(0, 1000),
    sdk_score=st.floats(0, 100),
    force_captured=st.booleans(),
    payload=XML_TEXT,
    spec_version=XML_TEXT,
)
KEYS = st.sampled_from([(modality, subtype) for modality in Modality for subtype in sorted(SUBTYPES[modality])])


@st.composite
def records(draw: st.DrawFn) -> BiometricRecord:
    modality, subtype = draw(KEYS)
    exception = draw(st.booleans())
    return BiometricRecord(
        modality,
        subtype,
        b"" if exception else draw(st.binary(min_size=1, max_size=200)),
        draw(st.integers(0, 100)),
        exception=exception,
        signature=draw(st.binary(max_size=40)),
        notes=draw(st.none() | NOTES),
        created=draw(INSTANTS),
    )


@UNHURRIED
@given(st.lists(records(), min_size=1, max_size=16), INSTANTS)
def test_what_is_composed_is_parsed(held: list[BiometricRecord], at: datetime) -> None:
    assert parse_cbeff(compose_cbeff(held, at)) == held


@UNHURRIED
@given(records())
def test_a_single_document_holds_its_record(record: BiometricRecord) -> None:
    assert parse_cbeff(compose_single(record)) == [record]


@UNHURRIED
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_document(data: bytes) -> None:
    with pytest.raises(InvalidBiometrics):
        parse_cbeff(data)


@UNHURRIED
@given(records(), st.data())
def test_a_damaged_document_is_read_or_refused(record: BiometricRecord, data: st.DataObject) -> None:
    xml = bytearray(compose_single(record))
    start = data.draw(st.integers(0, len(xml) - 1))
    xml[start : start + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=10))
    with suppress(InvalidBiometrics):
        parse_cbeff(bytes(xml))


@UNHURRIED
@given(st.lists(records(), unique_by=lambda r: r.key), st.lists(records(), unique_by=lambda r: r.key))
def test_merge_holds_each_key_once_and_prefers_the_incoming(
    stored: list[BiometricRecord], incoming: list[BiometricRecord]
) -> None:
    merged = merge(stored, incoming)
    assert len({record.key for record in merged}) == len(merged)
    assert {record.key for record in merged} == {record.key for record in [*stored, *incoming]}
    assert all(record in merged for record in incoming)


QUALITIES = st.builds(QualityBlock, st.integers(0, 100) | st.just(255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
MILLIS = INSTANTS.map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
CAPTURES = st.builds(
    Capture,
    st.none() | MILLIS,
    st.sampled_from([0, 1]),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.lists(QUALITIES, max_size=3).map(tuple),
)
SIDES = st.integers(1, 0xFFFF)
IMAGES = st.binary(min_size=1, max_size=100)
RATES = st.sampled_from([(500, 500), (1000, 1000), (500, 1000)])
FINGERS = st.builds(
    finger.FingerImage,
    st.integers(0, 10), IMAGES, SIDES, SIDES, st.sampled_from(finger.Compression), st.just((1000, 1000)), RATES,
    st.sampled_from([0, 8, 24, 29]), CAPTURES,
)  # fmt: skip
FACES = st.builds(
    face.FaceImage,
    IMAGES, SIDES, SIDES, st.sampled_from(face.ImageData), st.sampled_from([0, 1, 128]), st.integers(0, 255), CAPTURES,
)  # fmt: skip
IRISES = st.builds(
    iris.IrisImage,
    st.integers(0, 2), IMAGES, SIDES, SIDES, st.sampled_from(iris.Format), st.sampled_from([1, 2, 3, 7]),
    st.integers(0, 255), st.integers(0, 0xFFFF), CAPTURES,
)  # fmt: skip
ENCODED = st.one_of(
    st.tuples(st.just(finger), FINGERS), st.tuples(st.just(face), FACES), st.tuples(st.just(iris), IRISES)
)


@UNHURRIED
@given(ENCODED)
def test_what_is_encoded_is_decoded(case) -> None:
    module, held = case
    assert module.decode(module.encode(held)) == held


@UNHURRIED
@given(ENCODED)
def test_every_truncation_is_refused(case) -> None:
    module, held = case
    record = module.encode(held)
    for end in range(len(record)):
        with pytest.raises(InvalidBiometrics):
            module.decode(record[:end])
    with pytest.raises(InvalidBiometrics):
        module.decode(record + b"\0")


@UNHURRIED
@given(ENCODED, st.data())
def test_a_damaged_record_is_read_or_refused(case, data: st.DataObject) -> None:
    module, held = case
    record = bytearray(module.encode(held))
    for _ in range(data.draw(st.integers(1, 4))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InvalidBiometrics):
        module.decode(bytes(record))


@UNHURRIED
@given(st.sampled_from(list(Modality)), ENCODED, st.binary(max_size=80))
def test_hostile_images_are_refused(modality: Modality, case, junk: bytes) -> None:
    module, held = case
    for bdb in (module.encode(held), junk):
        with pytest.raises(InvalidBiometrics):
            images.pixels(BiometricRecord(modality, "", bdb))


@UNHURRIED
@given(st.binary(max_size=6 * 20).map(lambda b: b[: len(b) // 6 * 6]), st.integers(0, 10), st.integers(0, 100))
def test_templates_pass_through_the_standard_form_unchanged(minutia: bytes, position: int, quality: int) -> None:
    native = (
        b"FMR\0 20\0" + (26 + len(minutia)).to_bytes(4) + bytes(2) + b"\x01\x40\x01\x90" + bytes(7)
        + (len(minutia) // 6).to_bytes(1) + minutia
    )  # fmt: skip
    standard = minutiae.from_nbis(native, position, quality)
    assert minutiae.to_nbis(standard) == native
    for end in range(len(standard)):
        with pytest.raises(InvalidBiometrics):
            minutiae.to_nbis(standard[:end])
