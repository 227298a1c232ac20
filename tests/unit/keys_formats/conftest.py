"""RSA keys made once, and a small world of certificates."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from civium.keys.formats import certificates
from civium.keys.formats.certificates import BASE, MASTER, PARTNER, ROOT, Profile

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def new_rsa(bits=2048):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@dataclass(frozen=True)
class Holder:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    def signs(
        self, profile: Profile, cn, key, *, start=NOW - timedelta(days=1), days=400, organisation="Relying Party"
    ):
        return Holder(
            key,
            certificates.issue(
                profile,
                name(cn, organisation),
                key.public_key(),
                issuer=self.certificate.subject,
                signing_key=self.key,
                not_before=start,
                not_after=start + timedelta(days=days),
            ),
        )


def name(cn, organisation="Relying Party"):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "MA"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, cn),
        ]
    )


def self_signed(cn, key, profile=ROOT, *, start=NOW - timedelta(days=1), days=4000):
    return Holder(
        key,
        certificates.issue(
            profile,
            name(cn),
            key.public_key(),
            issuer=name(cn),
            signing_key=key,
            not_before=start,
            not_after=start + timedelta(days=days),
        ),
    )


@pytest.fixture(scope="session")
def keys():
    return [new_rsa() for _ in range(4)]


@pytest.fixture(scope="session")
def root(keys):
    return self_signed("root", keys[0])


@pytest.fixture(scope="session")
def master(keys, root):
    return root.signs(MASTER, "master", keys[1], days=2000)


@pytest.fixture(scope="session")
def base(keys, master):
    return master.signs(BASE, "base", keys[2])


@pytest.fixture(scope="session")
def partner(keys, master):
    return master.signs(PARTNER, "partner", keys[3])
