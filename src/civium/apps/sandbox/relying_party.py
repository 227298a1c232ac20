"""Makes a relying party through the partner APIs, and writes what its client needs (first-line section 3)."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from cryptography.x509.oid import NameOID

from civium.apps.sandbox.client import PARTNER_ADMIN, Platform
from civium.kernel.clock import SystemClock
from civium.kernel.secrets import Secret

KYC_ATTRIBUTES = ("fullName", "gender", "dateOfBirth", "photo")
CERTIFICATE_DAYS = 730
MISP_ID = "civium-sandbox-misp"
AUTH_POLICY: Mapping[str, Any] = {
    "authTokenType": "policy",
    "allowedAuthTypes": [{"authType": kind, "mandatory": False} for kind in ("otp", "otp-request", "demo", "kyc")],
    "allowedKycAttributes": [{"attributeName": name} for name in KYC_ATTRIBUTES],
    "kycLanguages": ["eng", "ara"],
}
MISP_POLICY: Mapping[str, Any] = {
    "allowAuthRequestDelegation": True,
    "allowKycRequestDelegation": True,
    "allowKeyBindingDelegation": False,
}


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """A registered relying party with everything that it may know."""

    partner_id: str
    policy_id: str
    api_key: Secret[str]
    licence_key: Secret[str]
    key: rsa.RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)
    encryption_certificate_pem: str = field(repr=False)
    platform_url: str


@dataclass(frozen=True, slots=True)
class _Issued:
    key: rsa.RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate


def make_relying_party(
    platform: Platform,
    name: str,
    *,
    kyc_attributes: tuple[str, ...] = KYC_ATTRIBUTES,
    policy: Mapping[str, Any] = AUTH_POLICY,
) -> RelyingParty:
    """Register the partner ``name`` with its own policy and API key, and a MISP licence; each through its API path.

    Raises CallFailed. About fifteen calls and three RSA key pairs: one to two seconds.
    """
    platform.login_user(PARTNER_ADMIN)
    body = {**policy, "allowedKycAttributes": [{"attributeName": attribute} for attribute in kyc_attributes]}
    group, policy_name, policy_id = _publish(platform, name, "Auth", body)
    issued = _register(platform, name, "AUTH_PARTNER", "AUTH", group)
    _map(platform, name, policy_name)
    path = f"/v1/partnermanager/partners/{name}/generate/apikey"
    api_key = platform.call("PATCH", path, {"policyName": policy_name, "label": "sandbox"})["apiKey"]
    licence_key = make_licence(platform, f"{MISP_ID}-{secrets.token_hex(4)}")
    encryption = platform.get(
        "/idauthentication/v1/internal/getCertificate", applicationId="IDA", referenceId="PARTNER"
    )
    return RelyingParty(
        name, policy_id, Secret(api_key), licence_key, issued.key, issued.certificate, encryption["certificate"],
        platform.url,
    )  # fmt: skip


def make_licence(platform: Platform, misp_id: str) -> Secret[str]:
    """Register a MISP with its policy and return its licence key. Needs a partner administrator's login."""
    group, policy_name, _ = _publish(platform, misp_id, "MISP", MISP_POLICY)
    _register(platform, misp_id, "MISP_PARTNER", "MISP", group)
    _map(platform, misp_id, policy_name)
    return Secret(platform.call("POST", "/v1/partnermanager/misps", {"providerId": misp_id})["licenseKey"])


def _publish(platform: Platform, name: str, kind: str, body: Mapping[str, Any]) -> tuple[str, str, str]:
    group_name, policy_name = f"{name} group", f"{name} policy"
    group = platform.call("POST", "/v1/policymanager/policies/group/new", {"name": group_name, "desc": group_name})
    draft = {
        "policyGroupName": group_name,
        "policyType": kind,
        "name": policy_name,
        "desc": policy_name,
        "version": "1.0",
        "policies": dict(body),
    }
    policy_id = platform.call("POST", "/v1/policymanager/policies", draft)["id"]
    platform.call("POST", f"/v1/policymanager/policies/{policy_id}/group/{group['id']}/publish", {})
    return group_name, policy_name, policy_id


def _register(platform: Platform, name: str, kind: str, domain: str, group: str) -> _Issued:
    request = {
        "partnerId": name,
        "policyGroup": group,
        "organizationName": name,
        "address": "1 Sandbox Street",
        "contactNumber": "9000000000",
        "emailId": f"{name}@partner.invalid",
        "partnerType": kind,
    }
    platform.call("POST", "/v1/partnermanager/partners", request)
    root_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    root = _certificate(f"{name} CA", name, root_key, None, root_key)
    leaf = _certificate(name, name, key, root, root_key)
    upload = {"certificateData": _pem(root), "partnerDomain": domain}
    platform.call("POST", "/v1/partnermanager/partners/certificate/ca/upload", upload)
    upload = {"partnerId": name, "certificateData": _pem(leaf), "partnerDomain": domain}
    signed = platform.call("POST", "/v1/partnermanager/partners/certificate/upload", upload)
    chain = pkcs7.load_pem_pkcs7_certificates(signed["signedCertificateData"].encode())
    ours = next(certificate for certificate in chain if certificate.public_key() == key.public_key())
    return _Issued(key, ours)


def _map(platform: Platform, name: str, policy_name: str) -> None:
    request = {"policyName": policy_name, "useCaseDescription": "sandbox"}
    mapping = platform.call("POST", f"/v1/partnermanager/partners/{name}/policy/map", request)
    platform.call("PUT", f"/v1/partnermanager/partners/policy/{mapping['mappingkey']}", {"status": "Approved"})


def _certificate(
    name: str, organisation: str, key: rsa.RSAPrivateKey, issuer: x509.Certificate | None, issuer_key: rsa.RSAPrivateKey
) -> x509.Certificate:
    authority = issuer is None
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "IN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    begin = SystemClock().now() - timedelta(minutes=5)
    usage = x509.KeyUsage(
        digital_signature=not authority, content_commitment=False, key_encipherment=not authority,
        data_encipherment=False, key_agreement=False, key_cert_sign=authority, crl_sign=authority,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def write_client_files(party: RelyingParty, folder: Path) -> None:
    """Write ``config.toml`` for ``mosip-auth-sdk``, the p12 and its password, the certificate and a README (0600)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = folder.absolute()
    password = secrets.token_urlsafe(18)
    p12 = pkcs12.serialize_key_and_certificates(
        party.partner_id.encode(), party.key, party.certificate, None,
        serialization.BestAvailableEncryption(password.encode()),
    )  # fmt: skip
    _write(folder / "partner.p12", p12)
    _write(folder / "partner.p12.password", password.encode())
    _write(folder / "ida-partner.pem", party.encryption_certificate_pem.encode())
    config = _CONFIG.format(
        api_key=party.api_key.reveal(),
        licence_key=party.licence_key.reveal(),
        partner_id=party.partner_id,
        url=party.platform_url,
        folder=folder,
        password=password,
    )
    _write(folder / "config.toml", config.encode())
    _write(folder / "README.md", _README.format(partner_id=party.partner_id, url=party.platform_url).encode())


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


_CONFIG = """\
[mosip_auth]
timestamp_format = "%Y-%m-%dT%H:%M:%S"
ida_auth_version = "1.0"
ida_auth_request_demo_id = "mosip.identity.auth"
ida_auth_request_kyc_id = "mosip.identity.kyc"
ida_auth_request_otp_id = "mosip.identity.otp"
ida_auth_env = "Staging"
authorization_header_constant = "Authorization"
partner_apikey = "{api_key}"
partner_misp_lk = "{licence_key}"
partner_id = "{partner_id}"

[mosip_auth_server]
ida_auth_domain_uri = "{url}"
ida_auth_url = "{url}/idauthentication/v1"

[crypto_encrypt]
symmetric_key_size = 256
symmetric_nonce_size = 128
symmetric_gcm_tag_size = 128
encrypt_cert_path = "{folder}/ida-partner.pem"
decrypt_p12_file_path = "{folder}/partner.p12"
decrypt_p12_file_password = "{password}"

[crypto_signature]
algorithm = "RS256"
sign_p12_file_path = "{folder}/partner.p12"
sign_p12_file_password = "{password}"

[logging]
log_file_path = "{folder}/client.log"
log_format = "%(asctime)s %(levelname)s %(message)s"
loglevel = "WARNING"
"""

_README = """\
# {partner_id}: a relying party of the sandbox at {url}

`config.toml` configures `mosip-auth-sdk==0.5.4`; `partner.p12` holds your key and the certificate that the platform
issued for it (password in `partner.p12.password`); `ida-partner.pem` is what requests are encrypted to.

Run this from here, with the Python of an environment that has that client, such as `.venv-client` of the platform:

```python
import tomllib, types
from mosip_auth_sdk import MOSIPAuthenticator

VID = "the vid that was printed"
with open("config.toml", "rb") as file:
    settings = {{name: types.SimpleNamespace(**part) for name, part in tomllib.load(file).items()}}
client = MOSIPAuthenticator(config=types.SimpleNamespace(**settings))
who = {{"individual_id": VID, "individual_id_type": "VID", "txn_id": "1234567890"}}
print(client.genotp(**who, email=True).json())
otp = input("The OTP, from {url}/sandbox/outbox?to=<the person's e-mail>: ")
answer = client.kyc(**who, otp_value=otp, consent=True)
print(client.decrypt_response(answer.json()))
```

`civium sandbox person --json` makes a person to try it with.
"""
