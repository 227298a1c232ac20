import struct
from datetime import UTC, datetime

import pytest
from PIL import Image

from civium.biometrics import images, quality
from civium.biometrics.api import BiometricRecord, InvalidBiometrics, Modality
from civium.biometrics.iso import face, finger, iris, minutiae
from civium.biometrics.iso.records import Capture, QualityBlock
from civium.biometrics.synthesis import second_impression

AT = datetime(2024, 2, 29, 23, 59, 58, 123000, tzinfo=UTC)
CAPTURE = Capture(AT, 1, 64, 7, (QualityBlock(61, 15, 15), QualityBlock(255, 64, 2)))


def grey(width: int = 80, height: int = 90) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height))


def test_finger_bytes_stand_where_the_standard_says() -> None:
    record = finger.encode(
        finger.FingerImage(7, b"IMAGE", 300, 400, capture=Capture(AT, 4, 0x40, 3, (QualityBlock(50, 15, 15),)))
    )
    assert record.hex() == (
        "46495200" "30323000" "00000043" "0001" "00" "01"
        "00000033" "07e8021d173b3a007b" "04" "0040" "0003" "01" "32000f000f"
        "07" "00" "01" "01f401f4" "01f401f4" "08" "05" "1d" "012c0190"
        "00000005" "494d414745"
    )  # fmt: skip


def test_face_bytes_stand_where_the_standard_says() -> None:
    record = face.encode(face.FaceImage(b"IMAGE", 240, 320))
    assert record.hex() == (
        "46414300" "30333000" "0000004e" "0001" "00" "0000"
        "0000003d" "ffffffffffffffffff" "05" "0000" "0000" "01" "2800010001"
        "0000" "ff" "ff" "ff" "00" "000000" "0000" "000000" "000000"
        "01" "02" "00f00140" "00" "0000" "00" "01"
        "00000005" "494d414745"
    )  # fmt: skip


def test_iris_bytes_stand_where_the_standard_says() -> None:
    record = iris.encode(iris.IrisImage(2, b"IMAGE", 400, 304, diameter=224))
    assert record.hex() == (
        "49495200" "30323000" "0000004e" "0001" "00" "01"
        "0000003e" "ffffffffffffffffff" "00" "0000" "0000" "01" "5000000000"
        "0001" "02" "03" "0a" "40" "01900130" "08" "0000" "ffff" "ffff" "0000000000000000" "00e000e0"
        "00000005" "494d414745"
    )  # fmt: skip


def test_extended_blocks_certification_and_centimetres_are_read() -> None:
    plain = finger.encode(finger.FingerImage(1, b"IMAGE", 80, 90, capture=Capture()))
    head, body = plain[:16], bytearray(plain[20:])
    body[15:15] = b"\x01\x00\x01\x02"  # one certification block behind the quality count
    at = 19
    assert body[at] == 1
    body[at + 2] = 2
    body[at + 3 : at + 11] = struct.pack(">4H", 197, 197, 197, 197)
    body += b"\x00\x02\x00\x07\x01\x01\x02" + b"\x00\x03\x00\x06hi"
    record = head[:8] + struct.pack(">I", 20 + len(body)) + head[12:14] + b"\x01\x01"
    record += struct.pack(">I", 4 + len(body)) + bytes(body)
    decoded = finger.decode(record)
    assert (decoded.image, decoded.image_rate) == (b"IMAGE", (500, 500))
    with pytest.raises(InvalidBiometrics):
        finger.decode(record[:-1])


FINGER = finger.encode(finger.FingerImage(7, b"IMAGE", 300, 400, capture=CAPTURE))
FACE = face.encode(face.FaceImage(b"IMAGE", 240, 320, capture=CAPTURE))
IRIS = iris.encode(iris.IrisImage(1, b"IMAGE", 400, 304, capture=CAPTURE))


@pytest.mark.parametrize(
    ("decode", "record", "offset", "value"),
    [
        (finger.decode, FINGER, 0, 0x47),  # format
        (finger.decode, FINGER, 5, 0x31),  # version
        (finger.decode, FINGER, 11, 0x00),  # record length
        (finger.decode, FINGER, 13, 2),  # representations
        (finger.decode, FINGER, 14, 2),  # certification flag
        (finger.decode, FINGER, 15, 2),  # positions
        (finger.decode, FINGER, 19, 0),  # representation length
        (finger.decode, FINGER, 22, 13),  # month
        (finger.decode, FINGER, 23, 31),  # 31 February
        (finger.decode, FINGER, 29, 21),  # technology
        (finger.decode, FINGER, 34, 200),  # quality blocks
        (finger.decode, FINGER, 35, 101),  # score
        (finger.decode, FINGER, 45, 11),  # position
        (finger.decode, FINGER, 46, 16),  # representation number
        (finger.decode, FINGER, 47, 3),  # unit
        (finger.decode, FINGER, 48, 0),  # capture rate
        (finger.decode, FINGER, 52, 2),  # image finer than capture
        (finger.decode, FINGER, 56, 1),  # depth
        (finger.decode, FINGER, 57, 7),  # compression
        (finger.decode, FINGER, 58, 30),  # impression
        (finger.decode, FINGER, 63, 0xFF),  # image length
        (finger.decode, FINGER, 66, 4),  # bytes behind the image
        (face.decode, FACE, 0, 0x47),
        (face.decode, FACE, 14, 1),
        (face.decode, FACE, 16, 1),
        (face.decode, FACE, 30, 7),
        (face.decode, FACE, 46, 9),
        (face.decode, FACE, 63, 4),
        (face.decode, FACE, 64, 4),
        (iris.decode, IRIS, 0, 0x47),
        (iris.decode, IRIS, 14, 1),
        (iris.decode, IRIS, 15, 2),
        (iris.decode, IRIS, 29, 2),
        (iris.decode, IRIS, 46, 2),
        (iris.decode, IRIS, 47, 3),
        (iris.decode, IRIS, 48, 4),
        (iris.decode, IRIS, 49, 3),
        (iris.decode, IRIS, 55, 16),
        (iris.decode, IRIS, len(IRIS) - 6, 4),
    ],
)
def test_a_field_outside_its_range_is_refused(decode, record: bytes, offset: int, value: int) -> None:
    decode(record)
    changed = bytearray(record)
    assert changed[offset] != value
    changed[offset] = value
    with pytest.raises(InvalidBiometrics):
        decode(bytes(changed))


def fingered(image: Image.Image, /, **changes) -> BiometricRecord:
    fields = {"position": 1, "image": images.lossless(image), "width": image.width, "height": image.height} | changes
    return BiometricRecord(Modality.FINGER, "Right Thumb", finger.encode(finger.FingerImage(**fields)))


def test_pixels_survive_the_lossless_coding() -> None:
    image = grey()
    assert images.pixels(fingered(image)).tobytes() == image.tobytes()
    as_png = fingered(image, image=images.png(image), compression=finger.Compression.PNG)
    assert images.pixels(as_png).tobytes() == image.tobytes()


def test_fingers_are_brought_to_500_pixels_per_inch() -> None:
    record = fingered(grey(160, 180), capture_rate=(1000, 1000), image_rate=(1000, 1000))
    assert images.pixels(record).size == (80, 90)
    large = fingered(grey(1200, 1100), capture_rate=(1000, 1000), image_rate=(1000, 1000))
    assert images.pixels(large).size == (600, 550)


@pytest.mark.parametrize(
    "record",
    [
        fingered(grey(), width=81),
        fingered(grey(63, 90)),
        fingered(grey(), width=4000, height=4000),
        fingered(grey(1001, 1000)),
        fingered(grey(), image=b"no image"),
        fingered(grey(), image=images.lossless(grey())[:-40]),
        fingered(grey(), image=images.png(grey())[:-40]),
        fingered(grey(), image=b"\xff\xa0 a WSQ"),
        BiometricRecord(Modality.FINGER, "Right Thumb", b"", exception=True),
        BiometricRecord(Modality.IRIS, "Right", fingered(grey()).bdb),
        BiometricRecord(Modality.FACE, "", fingered(grey()).bdb),
    ],
)
def test_images_that_cannot_be_trusted_are_refused(record: BiometricRecord) -> None:
    with pytest.raises(InvalidBiometrics):
        images.pixels(record)


def test_a_blank_finger_has_quality_zero_with_a_reason() -> None:
    blank = quality.measure(fingered(Image.new("L", (320, 400), 255)))
    assert blank.score == 0
    assert blank.reason is not None


def test_blur_lowers_the_quality_of_an_iris(person: list[BiometricRecord]) -> None:
    eye = next(record for record in person if record.modality is Modality.IRIS)
    sharp = images.pixels(eye)
    blurred = sharp.resize((50, 38)).resize(sharp.size)
    assert quality.clarity(blurred).score < quality.clarity(sharp).score / 2
    assert quality.clarity(Image.new("L", (300, 300), 90)).score == 0


def test_a_seed_gives_one_person_only(person: list[BiometricRecord], person_again, stranger) -> None:
    assert second_impression(1, 0, ["Right Thumb"])[0] == person[0]
    assert len({record.bdb for record in (person[0], person_again[0], stranger[0])}) == 3
    assert [record.key for record in person[-4:]] == [
        (Modality.IRIS, "Right"),
        (Modality.IRIS, "Left"),
        (Modality.FACE, ""),
        (Modality.EXCEPTION_PHOTO, ""),
    ]


def test_written_image_fields_are_those_of_registration(person: list[BiometricRecord]) -> None:
    thumb = finger.decode(person[0].bdb)
    assert (thumb.position, thumb.compression, thumb.width, thumb.height) == (1, 5, 320, 400)
    assert thumb.capture.qualities[0].score == person[0].quality
    assert thumb.image[4:8] == b"jP  "
    marker = thumb.image.index(b"\xff\x52")
    assert thumb.image[marker + 13] == 1  # reversible wavelet
    eye = iris.decode(person[10].bdb)
    assert (eye.eye, eye.image_type, eye.format, eye.properties) == (1, 3, 10, 64)
    assert face.decode(person[12].bdb).data == face.ImageData.JPEG2000_LOSSLESS


def test_standard_templates_are_read_strictly() -> None:
    record = b"FMR\0 20\0" + struct.pack(">IHHHHHBB", 36, 0, 320, 400, 197, 197, 1, 0) + b"\x01\x00\x32\x01" + b"\x40\x01\x00\x02\x10\x32" + b"\0\0"  # fmt: skip
    native = minutiae.to_nbis(record)
    assert native == b"FMR\0 20\0" + struct.pack(">IHHHHHBBBB", 32, 0, 320, 400, 0, 0, 0, 0, 0, 1) + b"\x40\x01\x00\x02\x10\x32"  # fmt: skip
    assert minutiae.from_nbis(native, 1, 50) == record
    for end in range(len(record)):
        with pytest.raises(InvalidBiometrics):
            minutiae.to_nbis(record[:end])
    for offset, value in ((4, 0x33), (11, 35), (19, 0), (21, 0), (22, 2), (24, 11), (27, 2), (35, 1)):
        changed = bytearray(record)
        changed[offset] = value
        with pytest.raises(InvalidBiometrics):
            minutiae.to_nbis(bytes(changed))
    for bad in (b"", native[:-1], record):
        with pytest.raises(InvalidBiometrics):
            minutiae.from_nbis(bad, 1, 50)
