"""A packet made once: if a byte of the format, or of what a client writes, changes, this is where it shows."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key

from civium.kernel.encoding import sha256_hex_upper
from civium.keys.formats import envelope, packet, primitives
from civium.packets import reader
from civium.packets.api import SubPacket, compose
from packet_fixtures import *  # noqa: F403
from packet_fixtures import Shop

HERE = Path(__file__).parent
HASH = "DC89D7CEACAB72A9303942724FCC17669C4AFFCDA7B267AE76E3BE80C7946DD9"


@pytest.fixture(scope="module")
def shop() -> Shop:
    """The keys that the packet was made with."""
    machine, centre = (
        load_der_private_key((HERE / f"{name}.der").read_bytes(), None) for name in ("machine", "centre")
    )
    return Shop(machine, centre, x509.load_der_x509_certificate((HERE / "centre-certificate.der").read_bytes()))


def unseal(shop: Shop, sealed: bytes) -> bytes:
    parts = packet.split(sealed)
    inner = envelope.split(parts.envelope)
    assert inner.thumbprint == primitives.thumbprint(shop.certificate)
    session_key = primitives.unwrap(shop.centre, inner.wrapped_key)
    return envelope.open_data(session_key, inner, salt=parts.nonce, aad=parts.aad)


def test_the_recorded_packet_opens_and_a_client_still_writes_the_same_files(shop, claim, enrolment, schema):
    sealed = (HERE / "packet.bin").read_bytes()
    assert sha256_hex_upper(sealed) == HASH
    parts = reader.read_container(unseal(shop, sealed), claim)
    plain = {sub: unseal(shop, part.sealed) for sub, part in parts.items()}
    view = reader.read_sub_packets(parts, plain, claim, shop.machine_public)
    assert view.identity["fullName"] == enrolment.identity["fullName"]
    for sub, files in compose(enrolment, schema).items():
        with zipfile.ZipFile(io.BytesIO(plain[sub])) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == files


def test_the_recorded_hash_files(shop, claim):
    parts = reader.read_container(unseal(shop, (HERE / "packet.bin").read_bytes()), claim)
    with zipfile.ZipFile(io.BytesIO(unseal(shop, parts[SubPacket.OPTIONAL].sealed))) as archive:
        assert archive.namelist() == ["ID.json", "packet_meta_info.json", "packet_data_hash.txt"]
        assert json.loads(archive.read("ID.json")) == {"identity": {"IDSchemaVersion": 0.1}}
        assert archive.read("packet_data_hash.txt").decode() == sha256_hex_upper(archive.read("ID.json"))
