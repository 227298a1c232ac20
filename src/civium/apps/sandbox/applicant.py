"""Made-up adults: demographics in English and Arabic, documents, biometrics. Nobody real."""

import json
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib import resources
from typing import Any

from civium.biometrics.api import BiometricRecord
from civium.biometrics.synthesis import synthetic_biometrics
from civium.packets.api import ScannedDocument

SCHEMA_VERSION = 0.1
ENGLISH, ARABIC = "eng", "ara"


@dataclass(frozen=True, slots=True)
class Applicant:
    """A person who comes to a registration centre with their papers."""

    identity: Mapping[str, Any] = field(repr=False)
    documents: Mapping[str, ScannedDocument] = field(repr=False)
    biometrics: tuple[BiometricRecord, ...] = field(repr=False)

    @property
    def names(self) -> dict[str, str]:
        """The full name per language."""
        return {item["language"]: item["value"] for item in self.identity["fullName"]}

    @property
    def email(self) -> str:
        """The person's e-mail address."""
        return str(self.identity["email"])

    @property
    def phone(self) -> str:
        """The person's phone number."""
        return str(self.identity["phone"])

    @property
    def date_of_birth(self) -> str:
        """The date of birth, ``yyyy/MM/dd``."""
        return str(self.identity["dateOfBirth"])


def make_applicant(seed: int | None = None) -> Applicant:
    """Make an adult up; the same seed gives the same person. Drawing the biometrics takes some seconds."""
    seed = secrets.randbelow(2**32) if seed is None else seed
    return Applicant(make_identity(seed), _documents(seed), tuple(synthetic_biometrics(seed)))


def make_identity(seed: int) -> dict[str, Any]:
    """Return the demographics of a made-up adult by the default ID schema."""
    draw = random.Random(seed)  # noqa: S311 - made-up people need repeatability, not secrecy
    words = json.loads(resources.files(__package__).joinpath("words.json").read_text("utf-8"))
    gender = draw.choice(words["genders"])
    given = draw.choice(words["given"][gender[ENGLISH]])
    family = draw.choice(words["family"])
    middle = draw.choice(words["family"])
    place = draw.choice(words["places"])
    number = draw.randint(1, 999)
    tag = f"{draw.getrandbits(40):010x}"
    born = date.fromordinal(date(1950, 1, 1).toordinal() + draw.randrange(20_000))
    return {
        "IDSchemaVersion": SCHEMA_VERSION,
        "fullName": [
            {"language": language, "value": f"{given[language]} {middle[language]} {family[language]}"}
            for language in (ENGLISH, ARABIC)
        ],
        "dateOfBirth": f"{born:%Y/%m/%d}",
        "gender": _both(gender),
        "residenceStatus": _both(words["residence"]),
        "addressLine1": _both(words["street"], f"{number} "),
        "addressLine2": _both(words["quarter"]),
        "addressLine3": _both(words["country"]),
        "region": _both(place["region"]),
        "province": _both(place["province"]),
        "city": _both(place["city"]),
        "zone": _both(place["zone"]),
        "postalCode": f"{draw.randint(10_000, 99_999)}",
        "phone": f"9{draw.randrange(10**9):09d}",
        "email": f"{given[ENGLISH].lower()}.{tag}@people.example",
        "preferredLang": ENGLISH,
    }


def _both(words: Mapping[str, str], prefix: str = "") -> list[dict[str, str]]:
    return [{"language": language, "value": prefix + words[language]} for language in (ENGLISH, ARABIC)]


def _documents(seed: int) -> dict[str, ScannedDocument]:
    reference = f"SPECIMEN{seed % 10**6:06d}"
    return {
        "proofOfIdentity": ScannedDocument(_pdf("Specimen passport"), "CIN", "pdf", reference),
        "proofOfAddress": ScannedDocument(_pdf("Specimen rental contract"), "RNC", "pdf", reference),
    }


def _pdf(text: str) -> bytes:
    """Return a one-page PDF that says ``text``."""
    stream = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
            b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
        ),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n%s%s" % (len(objects) + 1, table, trailer)
