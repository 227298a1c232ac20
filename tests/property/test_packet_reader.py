"""Whatever bytes a packet holds, the reader refuses them by name or returns exactly what was signed."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from civium.keys.api import packet as packet_bytes
from civium.packets import reader
from civium.packets.api import InvalidPacket, SubPacket, compose, seal, write_zip
from packet_fixtures import *  # noqa: F403
from packet_fixtures import AT

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def signed(shop, enrolment, schema, monkeypatch):
    """A container whose sub packets are not encrypted, and its plain sub packets."""
    monkeypatch.setattr(packet_bytes, "encrypt", lambda _, clear: clear)
    plain = {sub: write_zip(files, AT) for sub, files in compose(enrolment, schema).items()}
    container = seal(enrolment, schema, plain, machine_key=shop.machine, certificate=shop.certificate).sealed
    return container, plain


@quick
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(claim, garbage):
    with pytest.raises(InvalidPacket):
        reader.read_container(garbage, claim)


@quick
@given(data=st.data())
def test_a_changed_byte_never_changes_what_is_read(signed, shop, claim, data):
    container, plain = signed
    position = data.draw(st.integers(0, len(container) - 1))
    changed = bytearray(container)
    changed[position] ^= data.draw(st.integers(1, 255))
    original = reader.read_sub_packets(reader.read_container(container, claim), plain, claim, shop.machine_public)
    try:
        parts = reader.read_container(bytes(changed), claim)
        view = reader.read_sub_packets(
            parts, {sub: part.sealed for sub, part in parts.items()}, claim, shop.machine_public
        )
    except InvalidPacket:
        return
    assert (view.identity, view.documents, view.biometrics) == (
        original.identity,
        original.documents,
        original.biometrics,
    )


@quick
@given(data=st.data())
def test_a_truncated_sub_packet_is_refused(signed, shop, claim, data):
    container, plain = signed
    sub = data.draw(st.sampled_from(list(SubPacket)))
    cut = plain | {sub: plain[sub][: data.draw(st.integers(0, len(plain[sub]) - 1))]}
    with pytest.raises(InvalidPacket):
        reader.read_sub_packets(reader.read_container(container, claim), cut, claim, shop.machine_public)


@quick
@given(st.text(alphabet="ab/\\.:\x00 ", min_size=1, max_size=12))
def test_no_name_leaves_the_packet(claim, shop, enrolment, schema, name):
    files = compose(enrolment, schema)
    files[SubPacket.ID][name] = b"x"
    clear = write_zip(files[SubPacket.ID], AT)
    with pytest.raises(InvalidPacket):
        reader._content(reader._read_zip(clear, reader._FILE_NAME), claim)
