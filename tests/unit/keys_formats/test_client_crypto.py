import hashlib
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from civium.kernel.encoding import b64, b64u
from civium.keys.api import KeyProblem, SignatureInvalid
from civium.keys.formats import client_crypto
from civium.keys.formats.client_crypto import ClientType
from civium.keys.formats.primitives import gcm_decrypt

from .conftest import new_rsa


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def tpm_public(key, *, name_hash=0x000B, scheme=b"\x00\x14\x00\x0b", symmetric=b"\x00\x10", exponent=65537, policy=b""):
    modulus = key.public_key().public_numbers().n.to_bytes(key.key_size // 8, "big")
    return b"".join(
        (
            b"\x00\x01",
            name_hash.to_bytes(2, "big"),
            b"\x00\x05\x00\x72",
            len(policy).to_bytes(2, "big") + policy,
            symmetric,
            scheme,
            key.key_size.to_bytes(2, "big"),
            exponent.to_bytes(4, "big"),
            len(modulus).to_bytes(2, "big") + modulus,
        )
    )


TPM_FORMS = [
    {},
    {"name_hash": 0x0004},
    {"scheme": b"\x00\x17\x00\x0b", "policy": b"p" * 32},
    {"scheme": b"\x00\x10"},
    {"exponent": 0},
]


@pytest.mark.parametrize("form", TPM_FORMS)
def test_tpm_key(keys, form):
    encoded = tpm_public(keys[0], **form)
    machine = client_crypto.parse_public_key(encoded)
    assert machine.client_type is ClientType.TPM
    assert machine.public_key.public_numbers() == keys[0].public_key().public_numbers()
    assert machine.index.replace(":", "") == hashlib.sha256(encoded).hexdigest()


def test_local_key_and_index(keys):
    encoded = spki(keys[0])
    machine = client_crypto.parse_public_key(encoded)
    assert machine.client_type is ClientType.LOCAL
    assert machine.index == ":".join(f"{byte:02x}" for byte in hashlib.sha256(encoded).digest())


def test_malformed_keys_are_refused(keys):
    good = tpm_public(keys[0])
    bad = [b"", b"x", good + b"\x00", good[:-1], tpm_public(keys[0], name_hash=7), spki(keys[0])[:-1]]
    bad += [tpm_public(keys[0], symmetric=b"\x00\x06"), tpm_public(keys[0], scheme=b"\x00\x18\x00\x0b")]
    bad += [tpm_public(keys[0], exponent=2)]
    for encoded in bad:
        with pytest.raises(KeyProblem, match="KER-CRY-002"):
            client_crypto.parse_public_key(encoded)
    with pytest.raises(KeyProblem):
        client_crypto.parse_public_key(spki(keys[0]), ClientType.TPM)
    with pytest.raises(KeyProblem):
        client_crypto.parse_public_key(good, ClientType.LOCAL)


def test_other_algorithms_and_sizes_are_refused():
    for key in (ec.generate_private_key(ec.SECP256R1()), new_rsa(1024), new_rsa(3072)):
        with pytest.raises(KeyProblem):
            client_crypto.parse_public_key(spki(key))
    with pytest.raises(KeyProblem):
        client_crypto.parse_public_key(tpm_public(new_rsa(1024)))


@pytest.mark.parametrize("encode", [b64, b64u])
def test_signature_of_both_alphabets(keys, encode):
    machine = client_crypto.parse_public_key(spki(keys[0]))
    signature = keys[0].sign(b"zip", padding.PKCS1v15(), hashes.SHA256())
    client_crypto.verify(machine, b"zip", encode(signature))
    for data, text in ((b"zap", encode(signature)), (b"zip", encode(signature)[:-4]), (b"zip", ""), (b"zip", "é")):
        with pytest.raises(SignatureInvalid):
            client_crypto.verify(machine, data, text)


def test_signature_of_another_machine(keys):
    signature = keys[1].sign(b"zip", padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(SignatureInvalid):
        client_crypto.verify(client_crypto.parse_public_key(spki(keys[0])), b"zip", b64u(signature))


@pytest.mark.parametrize(
    ("client_type", "options"),
    [
        (ClientType.LOCAL, ["rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"]),
        (ClientType.ANDROID, ["rsa_oaep_md:sha256", "rsa_mgf1_md:sha1"]),
        (ClientType.TPM, ["rsa_oaep_md:sha256", "rsa_mgf1_md:sha256", "rsa_oaep_label:00"]),
    ],
)
def test_openssl_reads_what_a_machine_gets(keys, tmp_path, client_type, options):
    encoded = tpm_public(keys[0]) if client_type is ClientType.TPM else spki(keys[0])
    sealed = client_crypto.encrypt(client_crypto.parse_public_key(encoded, client_type), b"sync")
    pem = keys[0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    command = ["openssl", "pkeyutl", "-decrypt", "-inkey", str(tmp_path / "key.pem")]
    for option in ("rsa_padding_mode:oaep", *options):
        command += ["-pkeyopt", option]
    key = subprocess.run(command, input=sealed[:256], check=True, capture_output=True).stdout
    assert gcm_decrypt(key, sealed[256:268], sealed[300:], sealed[268:300]) == b"sync"
