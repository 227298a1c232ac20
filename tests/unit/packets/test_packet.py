"""A packet that a client built opens to what went in; any change to it is refused with its code."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from civium.keys.formats import envelope, packet, primitives
from civium.packets import reader
from civium.packets.api import (
    CannotBuild,
    Enrolment,
    InvalidPacket,
    PacketClaim,
    PacketFault,
    PacketView,
    SubPacket,
    SyncMessage,
    build_packet,
    compose,
    is_packet_id,
    seal,
    sync_body,
    sync_entry,
    write_zip,
)
from civium.packets.layout import Metadata
from packet_fixtures import AT, Shop, rsa_key

Files = dict[str, bytes]
STEM = "REGISTRATION_CLIENT/NEW/10001100010000120250203091500_"


def unseal(shop: Shop, sealed: bytes) -> bytes:
    parts = packet.split(sealed)
    inner = envelope.split(parts.envelope)
    session_key = primitives.unwrap(shop.centre, inner.wrapped_key)
    return envelope.open_data(session_key, inner, salt=parts.nonce, aad=parts.aad)


def open_container(shop: Shop, container: bytes, claim: PacketClaim) -> PacketView:
    parts = reader.read_container(container, claim)
    plain = {sub: unseal(shop, part.sealed) for sub, part in parts.items()}
    return reader.read_sub_packets(parts, plain, claim, shop.machine_public)


def container_of(shop: Shop, enrolment: Enrolment, schema, change: Callable[[dict[SubPacket, Files]], None]) -> bytes:
    """Return the container of a packet whose files were changed before the machine signed them."""
    files = compose(enrolment, schema)
    change(files)
    plain = {sub: write_zip(content, AT) for sub, content in files.items()}
    made = seal(enrolment, schema, plain, machine_key=shop.machine, certificate=shop.certificate)
    return unseal(shop, made.sealed)


def rewrite(container: bytes, change: Callable[[Files], None]) -> bytes:
    """Return the container with its entries changed after the signature."""
    with zipfile.ZipFile(io.BytesIO(container)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    return write_zip(files, AT)


def nothing(_: object) -> None: ...


def refused(shop: Shop, container: bytes, claim: PacketClaim) -> InvalidPacket:
    with pytest.raises(InvalidPacket) as caught:
        open_container(shop, container, claim)
    return caught.value


class TestRoundTrip:
    def test_what_went_in_comes_out(self, shop, enrolment, schema, claim):
        made = build_packet(enrolment, schema, machine_key=shop.machine, certificate=shop.certificate)
        view = open_container(shop, unseal(shop, made.sealed), claim)
        assert made.id == "10001100010000120250203091500-10001_10001-20250203091500"
        assert view.identity["fullName"] == enrolment.identity["fullName"]
        assert view.identity["IDSchemaVersion"] == 0.1
        assert view.identity["introducerName"] == enrolment.identity["introducerName"]
        assert view.documents["proofOfIdentity"].content == b"%PDF-1.4 passport"
        assert view.documents["proofOfException"].type == "DOC002"
        assert view.biometrics == {"individualBiometrics": b"<BIR/>" * 100}
        assert view.meta.operation("officerId") == "officer-1"
        assert view.meta.data("consentOfApplicant") == "Y"
        assert view.created_at == AT
        assert view.audits[0]["eventId"] == "REG-EVT-001"

    def test_fields_lie_in_the_sub_packet_of_their_category(self, enrolment, schema):
        files = compose(enrolment, schema)
        here = {sub: json.loads(content["ID.json"])["identity"].keys() for sub, content in files.items()}
        assert "fullName" in here[SubPacket.ID]
        assert "introducerName" in here[SubPacket.EVIDENCE]
        assert here[SubPacket.OPTIONAL] == {"IDSchemaVersion"}
        assert "proofOfException.pdf" in files[SubPacket.EVIDENCE]
        assert "audit.json" in files[SubPacket.ID]
        assert "audit.json" not in files[SubPacket.EVIDENCE]

    def test_plain_sub_packets_are_deterministic(self, enrolment, schema):
        first, second = compose(enrolment, schema), compose(enrolment, schema)
        assert first == second
        assert write_zip(first[SubPacket.ID], AT) == write_zip(second[SubPacket.ID], AT)

    def test_meta_information_has_every_key(self, enrolment, schema):
        meta = json.loads(compose(enrolment, schema)[SubPacket.ID]["packet_meta_info.json"])["identity"]
        assert meta["hashSequence1"] == [
            {"label": "biometricSequence", "value": ["individualBiometrics_bio_CBEFF"]},
            {"label": "demographicSequence", "value": ["proofOfIdentity", "ID"]},
        ]
        assert meta["hashSequence2"] == [{"label": "otherFiles", "value": ["audit"]}]
        assert meta["proofOfIdentity"] == "DOC001"
        assert meta["biometrics"]["individualBiometrics"]["leftIndex"] == {
            "numRetry": 1,
            "forceCaptured": False,
            "BIRIndex": "bir-1",
        }
        assert {"label": "creationDate", "value": "20250203091500"} in meta["metaData"]

    def test_metadata_beside_a_sub_packet(self, shop, enrolment, schema):
        made = container_of(shop, enrolment, schema, nothing)
        with zipfile.ZipFile(io.BytesIO(made)) as archive:
            told = json.loads(archive.read(f"{STEM}id.json"))
        assert told.keys() == {
            "id", "packetname", "source", "process", "refid", "schemaversion", "signature", "encryptedhash",
            "providername", "providerversion", "creationdate",
        }  # fmt: skip
        assert told["packetname"] == "10001100010000120250203091500_id"
        assert told["refid"] == "10001_10001"
        assert told["schemaversion"] == "0.1"
        assert told["creationdate"] == "2025-02-03T09:15:00.000Z"

    def test_sync_message_opens_with_the_centre_key(self, shop, enrolment, schema):
        made = build_packet(enrolment, schema, machine_key=shop.machine, certificate=shop.certificate)
        body = sync_body([sync_entry(made, enrolment, name="Amina")], at=AT, certificate=shop.certificate)
        clear = unseal(shop, reader.unb64(json.loads(body)))
        [entry] = msgspec.json.decode(clear, type=SyncMessage).request
        assert (entry.packet_hash_value, entry.packet_size) == (made.hash, len(made.sealed))
        assert len(made.hash) == 64
        assert made.hash == made.hash.upper()

    def test_no_audits_no_packet(self, enrolment, schema):
        with pytest.raises(CannotBuild, match="KER-KPM-008"):
            compose(replace(enrolment, audits=[]), schema)


class TestSignedContent:
    """The machine signed it, and it is wrong all the same."""

    @pytest.mark.parametrize(
        ("change", "fault", "code"),
        [
            (lambda f: f[SubPacket.ID].pop("proofOfIdentity.pdf"), PacketFault.FILE_MISSING, "KER-PUT-002"),
            (lambda f: f[SubPacket.ID].pop("packet_data_hash.txt"), PacketFault.FILE_MISSING, "KER-PUT-002"),
            (lambda f: f[SubPacket.ID].pop("packet_operations_hash.txt"), PacketFault.FILE_MISSING, "KER-PUT-002"),
            (lambda f: f[SubPacket.ID].pop("audit.json"), PacketFault.FILE_MISSING, "KER-PUT-002"),
            (lambda f: f[SubPacket.ID].pop("packet_meta_info.json"), PacketFault.FILE_MISSING, "KER-PUT-002"),
            (lambda f: f[SubPacket.OPTIONAL].pop("ID.json"), PacketFault.FILE_MISSING, "KER-PUT-002"),
            (lambda f: f[SubPacket.ID].update({"extra.pdf": b"x"}), PacketFault.FILE_UNEXPECTED, "KER-PUT-020"),
            (
                lambda f: f[SubPacket.ID].update({"proofOfIdentity.pdf": b"x"}),
                PacketFault.HASH_MISMATCH,
                "KER-PUT-020",
            ),
            (lambda f: f[SubPacket.ID].update({"audit.json": b"[]"}), PacketFault.HASH_MISMATCH, "KER-PUT-020"),
            (lambda f: f[SubPacket.ID].update({"../evil.pdf": b"x"}), PacketFault.UNSAFE_NAME, "KER-PUT-009"),
            (lambda f: f[SubPacket.ID].update({"/etc/passwd": b"x"}), PacketFault.UNSAFE_NAME, "KER-PUT-009"),
            (lambda f: f[SubPacket.ID].update({"a\\b.pdf": b"x"}), PacketFault.UNSAFE_NAME, "KER-PUT-009"),
            (lambda f: f[SubPacket.ID].update({"id.xml": b"x"}), PacketFault.UNSAFE_NAME, "KER-PUT-009"),
            (lambda f: f[SubPacket.ID].update({"Id.json": b"{}"}), PacketFault.UNSAFE_NAME, "KER-PUT-009"),
            (lambda f: f[SubPacket.ID].update({"big.pdf": bytes(4 << 20)}), PacketFault.ZIP_BOMB, "KER-PUT-009"),
            (
                lambda f: f[SubPacket.ID].update({f"f{n}.pdf": b"x" for n in range(80)}),
                PacketFault.ZIP_BOMB,
                "KER-PUT-009",
            ),
            (
                lambda f: f[SubPacket.ID].update({"packet_meta_info.json": b"[[["}),
                PacketFault.MALFORMED,
                "KER-PUT-020",
            ),
        ],
    )
    def test_is_refused(self, shop, enrolment, schema, claim, change, fault, code):
        problem = refused(shop, container_of(shop, enrolment, schema, change), claim)
        assert (problem.fault, problem.code) == (fault, code)

    def test_lying_size_in_the_zip_directory(self, shop, enrolment, schema, claim):
        """A directory that announces one byte for a file that inflates to more is no zip."""
        files = compose(enrolment, schema)
        plain = {sub: write_zip(content, AT) for sub, content in files.items()}
        whole = bytearray(plain[SubPacket.ID])
        at = whole.find(b"PK\x01\x02")
        whole[at + 24 : at + 28] = struct.pack("<I", 1)
        plain[SubPacket.ID] = bytes(whole)
        made = seal(enrolment, schema, plain, machine_key=shop.machine, certificate=shop.certificate)
        assert refused(shop, unseal(shop, made.sealed), claim).fault is PacketFault.NOT_A_ZIP

    def test_registration_of_another_machine(self, shop, enrolment, schema, claim):
        """Signed meta information of one registration under the metadata of another (keys-and-crypto 13.25)."""

        def other(files: dict[SubPacket, Files]) -> None:
            meta = files[SubPacket.ID]["packet_meta_info.json"]
            files[SubPacket.ID]["packet_meta_info.json"] = meta.replace(b'"10001100010000120', b'"10001100010000220')

        assert refused(shop, container_of(shop, enrolment, schema, other), claim).code == "KER-PUT-025"


class TestContainer:
    """Somebody changed the container after the machine signed."""

    def test_wrong_machine_key(self, shop, enrolment, schema, claim):
        files = compose(enrolment, schema)
        plain = {sub: write_zip(content, AT) for sub, content in files.items()}
        made = seal(enrolment, schema, plain, machine_key=rsa_key("stranger"), certificate=shop.certificate)
        problem = refused(shop, unseal(shop, made.sealed), claim)
        assert (problem.fault, problem.code) == (PacketFault.SIGNATURE, "KER-PUT-019")

    def test_one_flipped_byte_of_a_sub_packet(self, shop, enrolment, schema, claim):
        def flip(files: Files) -> None:
            name = f"{STEM}evidence.zip"
            files[name] = files[name][:400] + bytes([files[name][400] ^ 1]) + files[name][401:]

        container = rewrite(container_of(shop, enrolment, schema, nothing), flip)
        assert refused(shop, container, claim).code == "KER-PUT-019"

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (lambda f: f.pop(f"{STEM}optional.zip"), "KER-PUT-002"),
            (lambda f: f.pop(f"{STEM}id.json"), "KER-PUT-002"),
            (lambda f: f.update({f"{STEM}more.zip": b"x"}), "KER-PUT-020"),
            (lambda f: f.update({"../../evil.zip": b"x"}), "KER-PUT-009"),
            (lambda f: f.update({f"{STEM}id.json": b"{}"}), "KER-PUT-020"),
            (lambda f: f.update({f"{STEM}id.json": b"\xff\xfe"}), "KER-PUT-020"),
        ],
    )
    def test_files(self, shop, enrolment, schema, claim, change, code):
        assert refused(shop, rewrite(container_of(shop, enrolment, schema, nothing), change), claim).code == code

    @pytest.mark.parametrize("member", ["id", "ref_id", "process", "source", "packet_name"])
    def test_metadata_that_differs_from_the_sync_entry(self, shop, enrolment, schema, claim, member):
        def change(files: Files) -> None:
            told = msgspec.json.decode(files[f"{STEM}id.json"], type=Metadata)
            files[f"{STEM}id.json"] = msgspec.json.encode(msgspec.structs.replace(told, **{member: "UPDATE"}))

        problem = refused(shop, rewrite(container_of(shop, enrolment, schema, nothing), change), claim)
        assert problem.code == "KER-PUT-025"

    def test_two_sub_packets_exchanged(self, shop, enrolment, schema, claim):
        def swap(files: Files) -> None:
            for extension in ("zip", "json"):
                one, two = f"{STEM}evidence.{extension}", f"{STEM}optional.{extension}"
                files[one], files[two] = files[two], files[one]

        problem = refused(shop, rewrite(container_of(shop, enrolment, schema, nothing), swap), claim)
        assert problem.code == "KER-PUT-025"

    @pytest.mark.parametrize("garbage", [b"", b"PK", b"not a zip at all" * 100])
    def test_no_zip(self, shop, claim, garbage):
        assert refused(shop, garbage, claim).code == "KER-PUT-009"

    def test_claim_of_another_process(self, shop, enrolment, schema, claim):
        other = PacketClaim(claim.rid, "UPDATE", claim.reference)
        assert refused(shop, container_of(shop, enrolment, schema, nothing), other).code == "KER-PUT-002"


def test_packet_ids(enrolment):
    rid = enrolment.rid
    assert is_packet_id(rid.reveal(), rid, "10001_10001")
    assert is_packet_id(f"{rid.reveal()}-10001_10001-20250203091500", rid, "10001_10001")
    assert not is_packet_id(f"{rid.reveal()}-10001_10002-20250203091500", rid, "10001_10001")
    assert not is_packet_id(f"{rid.reveal()}-10001_10001-2025020309150\u0660", rid, "10001_10001")
    assert not is_packet_id(f"{rid.reveal()}-10001_10001-20250203091500.zip", rid, "10001_10001")
