"""Master data, sync data and the RID generator over HTTP."""

import json
from datetime import datetime

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from civium.access import wiring as access_wiring
from civium.kernel.encoding import b64, b64u, unb64
from civium.kernel.secrets import Secret
from civium.keys.api import KERNEL_SIGN
from civium.keys.formats.jws import verify
from civium.masterdata import wiring
from civium.masterdata.api import parse_schema
from civium.platform.http.app import create_app
from civium.platform.permissions import Role
from civium.platform.settings import Settings

SCHEMA = "/v1/masterdata/idschema/latest"
SYNC_SCHEMA = "/v1/syncdata/latestidschema"
CERTIFICATE = "/v1/syncdata/getCertificate"
MACHINE = "/v1/syncdata/tpm/publickey/10011"
VERIFY = "/v1/syncdata/tpm/publickey/verify"
RID = "/v1/ridgenerator/generate/rid/10001/10011"


@pytest.fixture(scope="module")
def public_keys():
    return [
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for _ in range(2)
    ]


class Caller:
    """Calls as a client with one role."""

    def __init__(self, app, token=None):
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, raise_app_exceptions=False),
            base_url="http://civium",
            headers={"Cookie": f"Authorization={token}"} if token else {},
        )
        self.get = self._http.get
        self.post = self._http.post


@pytest.fixture
async def platform(db, sealer_core, keys_core, outbox_core, clock, tmp_path):
    settings = Settings(home=tmp_path)
    shared = (sealer_core, keys_core, outbox_core, clock, settings)
    access, access_module = access_wiring.build(db.core("access"), *shared)
    master_data, module = wiring.build(db.core("masterdata"), *shared)
    app = create_app([*access_module.routers, *module.routers], access, settings)

    async def caller(*roles):
        if not roles:
            return Caller(app)
        name = "+".join(roles)
        await access.register_client(name, Secret("s"), roles)
        return Caller(app, (await access.authenticate_client(name, Secret("s"))).token.reveal())

    return master_data, caller


@pytest.fixture
def as_role(platform):
    return platform[1]


@pytest.fixture
async def machine(platform, public_keys):
    encryption, signing = public_keys
    return await platform[0].register_machine(
        "10011", name="m-1", centre="10001", public_key=encryption, sign_public_key=signing
    )


def errors(answer):
    return [(error["errorCode"], error["message"]) for error in answer.json()["errors"]]


@pytest.mark.parametrize("path", [SCHEMA, SYNC_SCHEMA])
async def test_the_latest_schema(as_role, path):
    http = await as_role(Role.REGISTRATION_PROCESSOR)
    for query in ("", "?schemaVersion=0", "?schemaVersion=0.1", "?domain=registration-client&type=schema"):
        answer = await http.get(path + query)
        assert answer.status_code == 200
        response = answer.json()["response"]
        assert response["id"] == "1001"
        assert response["idVersion"] == 0.1
        assert response["status"] == "PUBLISHED"
        assert {"title", "description", "effectiveFrom", "createdBy", "updatedBy", "createdOn", "updatedOn"} <= set(
            response
        )
    identity = json.loads(response["schemaJson"])["properties"]["identity"]
    assert identity["additionalProperties"] is False
    assert identity["properties"]["fullName"]["$ref"] == "#/definitions/simpleType"
    assert "individualBiometrics" in identity["required"]
    assert parse_schema(response).attributes["phone"].validators


@pytest.mark.parametrize("path", [SCHEMA, SYNC_SCHEMA])
@pytest.mark.parametrize("version", ["9.9", "-1", "x", "", "1e999", "NaN"])
async def test_a_schema_version_that_does_not_exist(as_role, path, version):
    http = await as_role(Role.REGISTRATION_PROCESSOR)
    answer = await http.get(path, params={"schemaVersion": version})
    assert answer.status_code == 200
    ((code, _),) = errors(answer)
    assert code in {"KER-SCH-007", "KER-MSD-999", "KER-SNC-999"}
    assert answer.json()["response"] is None


async def test_a_certificate_is_made_on_demand(as_role):
    http = await as_role(Role.REGISTRATION_OFFICER)
    for _ in range(2):
        answer = await http.get(CERTIFICATE, params={"applicationId": "REGISTRATION", "referenceId": "10001_10011"})
        response = answer.json()["response"]
        certificate = x509.load_pem_x509_certificate(response["certificate"].encode())
        assert certificate.public_key().key_size == 2048
        assert datetime.fromisoformat(response["expiryAt"]) > datetime.fromisoformat(response["issuedAt"])
        assert response["certSignRequest"] is None


@pytest.mark.parametrize(
    ("query", "prefix"),
    [
        ({}, "KER-SNC-999"),
        ({"applicationId": ""}, "KER-SNC-999"),
        ({"applicationId": "x" * 40}, "KER-SNC-999"),
        ({"applicationId": "NO_SUCH"}, "KER-KMS-"),
        ({"applicationId": "../../etc", "referenceId": "\x00"}, "KER-KMS-"),
    ],
)
async def test_a_certificate_of_no_key(as_role, query, prefix):
    http = await as_role(Role.REGISTRATION_OFFICER)
    answer = await http.get(CERTIFICATE, params=query)
    assert answer.status_code == 200
    assert errors(answer)[0][0].startswith(prefix)


async def test_sync_data_answers_are_signed(as_role, keys_core):
    http = await as_role(Role.REGISTRATION_OFFICER)
    certificate = await keys_core.certificate(KERNEL_SIGN)
    for query in ("", "?schemaVersion=9.9"):
        answer = await http.get(SYNC_SCHEMA + query)
        header, middle, signature = answer.headers["response-signature"].split(".")
        assert middle == ""
        assert "x5c" not in json.loads(unb64(header))
        assert signature
        assert verify(answer.headers["response-signature"], answer.content, certificate=certificate.x509)


async def test_a_machines_keys(as_role, machine, public_keys):
    http = await as_role(Role.REGISTRATION_PROCESSOR)
    answer = await http.get(MACHINE)
    assert answer.json()["response"] == {
        "signingPublicKey": b64u(public_keys[1]),
        "encryptionPublicKey": b64u(public_keys[0]),
    }
    answer = await http.get(MACHINE.replace("10011", "99999"))
    assert errors(answer) == [("KER-MSD-030", "Machine not Found")]


async def test_a_machine_proves_that_it_is_registered(as_role, machine, public_keys):
    http = await as_role(Role.REGISTRATION_OFFICER)
    encryption, signing = public_keys

    async def claim(**changes):
        claimed = {"machineName": "m-1", "publicKey": b64(encryption), "signPublicKey": b64u(signing), **changes}
        return await http.post(VERIFY, json={"id": "x", "version": "1.0", "request": claimed})

    assert (await claim()).json()["response"] == {"keyIndex": machine.key_index}
    for wrong in (
        {"machineName": "m-2"},
        {"signPublicKey": b64(encryption)},
        {"publicKey": b64(b"another")},
    ):
        assert errors(await claim(**wrong)) == [("KER-SNC-148", "Key index not found")]
    for bad in ({"publicKey": "***"}, {"publicKey": ""}, {"machineName": 1}, {"publicKey": "A" * 5000}):
        assert errors(await claim(**bad))[0][0] == "KER-SNC-999"


async def test_registration_ids(as_role):
    http = await as_role(Role.REGISTRATION_PROCESSOR)
    rids = [(await http.get(RID)).json()["response"]["rid"] for _ in range(2)]
    assert [rid[:15] for rid in rids] == ["100011001100001", "100011001100002"]
    assert all(len(rid) == 29 for rid in rids)
    for bad in ("1000/10011", "10001/1001x", "100011/10011"):
        answer = await http.get(f"/v1/ridgenerator/generate/rid/{bad}")
        assert errors(answer) == [("KER-RIG-003", "input length is not valid")]
    assert errors(await http.get("/v1/ridgenerator/generate/rid/%20/10011"))[0][0] == "KER-RIG-002"


@pytest.mark.parametrize(
    ("path", "stranger"),
    [
        (SCHEMA, None),
        (SYNC_SCHEMA, None),
        (CERTIFICATE + "?applicationId=REGISTRATION&referenceId=10001_10011", None),
        (MACHINE, Role.AUTH_PARTNER),
        (RID, Role.REGISTRATION_OFFICER),
    ],
)
async def test_who_may_not(as_role, path, stranger):
    answer = await (await as_role()).get(path)
    assert answer.status_code == 401
    assert errors(answer) == [("KER-ATH-401", "Authentication Failed")]
    if stranger is not None:
        answer = await (await as_role(stranger)).get(path)
        assert answer.status_code == 403
        assert errors(answer) == [("KER-ATH-403", "Forbidden")]


@pytest.mark.parametrize("base", ["masterdata", "syncdata", "ridgenerator", "authmanager"])
async def test_health(as_role, base):
    answer = await (await as_role()).get(f"/v1/{base}/actuator/health")
    assert answer.json() == {"status": "UP"}
