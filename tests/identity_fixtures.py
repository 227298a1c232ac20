"""The register on a real database with real keys, and made-up people for it."""

from dataclasses import dataclass
from typing import Any

import pytest

from civium.biometrics.api import BiometricRecord, Modality, compose_cbeff
from civium.identity.api import NewPerson, Register
from civium.identity.wiring import build
from civium.kernel.clock import FixedClock, SystemClock
from civium.kernel.identifiers import RID
from civium.masterdata.api import MasterData
from civium.masterdata.wiring import build as build_master_data
from civium.platform.module import Module
from civium.platform.objects import FileObjectStore
from civium.platform.outbox import decode, place_of
from civium.platform.settings import Settings


@pytest.fixture
def identity_clock() -> FixedClock:
    """A clock that the register's tests move; it starts at the present (as certificates need), in whole milliseconds."""
    return FixedClock(SystemClock().now().replace(microsecond=0))


@dataclass
class RegisterUnderTest:
    """The register, its routes, and everything a test looks at behind its back."""

    register: Register
    module: Module
    master_data: MasterData
    objects: FileObjectStore
    object_root: Any
    clock: FixedClock
    db: Any
    sealer: Any

    async def events(self, kind: Any) -> list[Any]:
        """Return the undelivered events of one kind, oldest first."""
        found = []
        for row in await self.db.outbox_rows():
            if row["topic"] == kind.topic():
                clear = await self.sealer.unseal("outbox", place_of(row["id"], row["topic"]), row["payload"])
                found.append(decode(clear, kind))
        return found

    def blobs(self) -> list[Any]:
        return sorted(path for path in self.object_root.rglob("*") if path.is_file())


@pytest.fixture
async def subject(db, keys_core, sealer_core, outbox_core, identity_clock, tmp_path) -> RegisterUnderTest:
    """The register under test."""
    master_data, _ = build_master_data(
        db.core("masterdata"), sealer_core, keys_core, outbox_core, identity_clock, Settings(mode="sandbox")
    )
    objects = FileObjectStore(tmp_path / "objects")
    register, module = build(
        db.core("identity"), sealer_core, keys_core, objects, outbox_core, master_data, identity_clock
    )
    return RegisterUnderTest(
        register, module, master_data, objects, tmp_path / "objects", identity_clock, db, sealer_core
    )


_sequence = iter(range(1, 99_999))


def some_rid() -> RID:
    """Return a registration id that no other test of this process uses."""
    return RID(f"1000110001{next(_sequence):05d}20250203091500")


def text(value: str, arabic: str | None = None) -> list[dict[str, str]]:
    """Return a text per language."""
    items = [{"language": "eng", "value": value}]
    return items + ([{"language": "ara", "value": arabic}] if arabic else [])


def cbeff(*parts: tuple[Modality, str, bytes]) -> bytes:
    """Return a CBEFF document of these biometrics."""
    return compose_cbeff([BiometricRecord(*part, quality=80) for part in parts], SystemClock().now())


def biometrics() -> bytes:
    """Return a finger, an iris, a face and an exception photo."""
    return cbeff(
        (Modality.FINGER, "Left Thumb", b"FIR-thumb"),
        (Modality.IRIS, "Left", b"IIR-left"),
        (Modality.FACE, "", b"FAC-face"),
        (Modality.EXCEPTION_PHOTO, "", b"FAC-exception"),
    )


def identity(**changes: Any) -> dict[str, Any]:
    """Return a valid identity of the shipped schema, without a UIN."""
    return {
        "IDSchemaVersion": 0.1,
        "fullName": text("Amina Belkacem", "أمينة بلقاسم"),
        "dateOfBirth": "1992/04/15",
        "gender": text("Female"),
        "addressLine1": text("12 Lane of Oranges"),
        "region": text("Rabat Sale Kenitra"),
        "province": text("Kenitra"),
        "city": text("Kenitra"),
        "zone": text("Ben Mansour"),
        "postalCode": "14022",
        "phone": "9876543210",
        "email": "amina.belkacem@example.com",
        "proofOfIdentity": {"format": "pdf", "type": "DOC001", "value": "proofOfIdentity"},
        "individualBiometrics": {"format": "cbeff", "version": 1.0, "value": "individualBiometrics_bio_CBEFF"},
        **changes,
    }


def new_person(rid: RID | None = None, **changes: Any) -> NewPerson:
    """Return a person as registration hands one over."""
    return NewPerson(
        rid or some_rid(),
        identity(**changes),
        {"proofOfIdentity": b"%PDF-1.7 made up"},
        {"individualBiometrics": biometrics()},
    )
