import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from civium.masterdata import wiring
from civium.platform.settings import Settings


def spki(bits=2048):
    public = rsa.generate_private_key(65537, bits).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="session")
def machine_key():
    return spki()


@pytest.fixture(scope="session")
def short_key():
    return spki(1024)


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path)


@pytest.fixture
def build(db, sealer_core, keys_core, outbox_core, clock, settings):
    """Builds one more process's view of master data."""

    def again(clock=clock):
        service, _ = wiring.build(db.core("masterdata"), sealer_core, keys_core, outbox_core, clock, settings)
        return service

    return again


@pytest.fixture
def master_data(build):
    return build()


@pytest.fixture
def identity():
    """The minimal legal identity of a new packet (section 13)."""

    def both(eng, ara):
        return [{"language": "eng", "value": eng}, {"language": "ara", "value": ara}]

    return {
        "IDSchemaVersion": 0.1,
        "fullName": both("Amina Belkacem", "أمينة بلقاسم"),
        "dateOfBirth": "1992/04/15",
        "gender": both("Female", "أنثى"),
        "addressLine1": both("12 Lane of Oranges", "زنقة البرتقال 12"),
        "region": both("Rabat Sale Kenitra", "الرباط سلا القنيطرة"),
        "province": both("Kenitra", "القنيطرة"),
        "city": both("Kenitra", "القنيطرة"),
        "zone": both("Ben Mansour", "بن منصور"),
        "postalCode": "14022",
        "phone": "9876543210",
        "email": "amina.belkacem@example.com",
        "preferredLang": "eng",
        "proofOfIdentity": {"format": "pdf", "type": "DOC001", "value": "proofOfIdentity", "refNumber": None},
        "individualBiometrics": {"format": "cbeff", "version": 1.0, "value": "individualBiometrics_bio_CBEFF"},
    }
