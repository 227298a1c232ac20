"""Recognisable values and the whole line of the platform run with them, right and wrong."""

import json
import random
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from civium.apps.sandbox.applicant import Applicant, make_identity
from civium.apps.sandbox.client import OFFICER, SANDBOX_PASSWORD, SANDBOX_SECRET, CallFailed, Platform
from civium.apps.sandbox.public_client import PublicClient
from civium.apps.sandbox.registration import Registered, RegistrationStation, enrol, issue_vid
from civium.apps.sandbox.relying_party import RelyingParty, make_relying_party, write_client_files
from civium.biometrics.extraction import template
from civium.biometrics.synthesis import synthetic_biometrics
from civium.kernel.identifiers import UIN, VID, random_uin, random_vid
from civium.kernel.secrets import Secret
from civium.packets.api import Enrolment, ScannedDocument
from platform_fixtures import CLIENT_PYTHON, RunningPlatform
from privacy.scanner import Canary

LATIN = "bcdfghjklmnpqrstvwxz"
ARABIC = "بتثجحخدذرزسشصضطظعغفقكلمنهوي"
WORDS = ("addressLine1", "addressLine2", "addressLine3", "region", "province", "city", "zone")
KEY_SLICE = 24
OTP_PATTERN = re.compile(r"(?<!\d)\d{6}(?!\d)")
OTP_CONTEXTS = (
    '"{}"', "'{}'", "otp={}", "otp:{}", "otp: {}", "OTP {}", "is {}", " {} ", "\t{}\t", "\t{}\n", "\n{}\n", "={}&", "|{}|", ",{},",
)  # fmt: skip
SHORT_TEXT_HEADER = b"\x0f"
"""What stands before a text of six bytes in a row of PostgreSQL."""


class Garden:
    """The canaries, and a source of new ones."""

    def __init__(self, seed: int) -> None:
        self.canaries: list[Canary] = []
        self._draw = random.Random(seed)

    def plant(self, name: str, value: str | bytes, *, digests: bool = False) -> Any:
        """Remember a value; give it back."""
        canary = Canary(name, value, digests)
        if canary not in self.canaries:
            self.canaries.append(canary)
        return value

    def word(self, name: str, *, digests: bool = False) -> str:
        """Plant a new word of Latin letters."""
        return str(self.plant(name, "".join(self._draw.choices(LATIN, k=12)).capitalize(), digests=digests))

    def arabic(self, name: str) -> str:
        """Plant a new word of Arabic letters."""
        return str(self.plant(name, "".join(self._draw.choices(ARABIC, k=9))))

    def digits(self, name: str, first: str, length: int) -> str:
        """Plant a new number."""
        return str(
            self.plant(name, first + "".join(self._draw.choices("0123456789", k=length - len(first))), digests=True)
        )

    def email(self, name: str) -> str:
        """Plant a new address; both its parts are recognisable by themselves."""
        local, domain = self.word(f"{name}, local part"), self.word(f"{name}, domain")
        return str(self.plant(name, f"{local}@{domain}.example".lower(), digests=True))

    def octets(self, count: int) -> bytes:
        """Return new bytes, not planted."""
        return self._draw.randbytes(count)

    def otp(self, otp: str, identifiers: Mapping[str, str], transaction: str) -> None:
        """Plant a one-time password: encoded, digested, in its contexts, and in the form that the reference hashes."""
        self.canaries.append(Canary("otp", otp, digests=True, alone=False))
        self.plant("otp in a row", SHORT_TEXT_HEADER + otp.encode())
        for context in OTP_CONTEXTS:
            self.canaries.append(Canary(f"otp as {context!r}", context.format(otp)))
        for name, identifier in identifiers.items():
            for splitter in ("#KEY_SPLITTER#", "", ":", "|", "_"):
                self.plant(f"otp with {name}", splitter.join((identifier, transaction, otp)), digests=True)
                self.plant(f"otp with {name}", splitter.join((identifier, otp)), digests=True)

    def private_key(self, name: str, key: RSAPrivateKey) -> None:
        """Plant slices of every secret number of an RSA key."""
        numbers = key.private_numbers()
        for letter, number in (("p", numbers.p), ("q", numbers.q), ("d", numbers.d)):
            octets = number.to_bytes(-(-number.bit_length() // 8), "big")
            for start in (0, len(octets) // 2, len(octets) - KEY_SLICE):
                self.plant(f"{name}, {letter} from {start}", octets[start : start + KEY_SLICE])


class Session(Platform):
    """A session whose access tokens are canaries."""

    def __init__(self, url: str, garden: Garden) -> None:
        super().__init__(url)
        self._garden = garden

    def _login(self, path: str, request: dict[str, str]) -> None:
        super()._login(path, request)
        token = self._http.cookies["Authorization"]
        self._garden.plant("access token, signature", token.rpartition(".")[2][:64])

    def fails(self, method: str, path: str, **keywords: Any) -> None:
        """Make a call that must not succeed; what it says is not looked at here."""
        answer = self.send(method, path, **keywords)
        with suppress(json.JSONDecodeError):
            document = answer.json()
            assert answer.is_error or document.get("errors"), (method, path, document)


def planted_applicant(garden: Garden, who: str, biometrics: tuple[Any, ...]) -> Applicant:
    """Return an adult every part of whose papers is recognisable."""
    identity = make_identity(garden._draw.randrange(2**32))
    english = [garden.word(f"{who}: name {number}") for number in range(3)]
    arabic = [garden.arabic(f"{who}: Arabic name {number}") for number in range(3)]
    identity["fullName"] = _both(" ".join(english), " ".join(arabic))
    for value in identity["fullName"]:
        garden.plant(f"{who}: full name", value["value"], digests=True)
    for attribute in WORDS:
        identity[attribute] = _both(garden.word(f"{who}: {attribute}"), garden.arabic(f"{who}: Arabic {attribute}"))
    identity["phone"] = garden.digits(f"{who}: phone", "9", 10)
    identity["email"] = garden.email(f"{who}: e-mail")
    identity["referenceIdentityNumber"] = garden.digits(f"{who}: reference number", "7", 20)
    documents = {
        name: ScannedDocument(_document(garden, f"{who}: {name}"), kind, "pdf", garden.word(f"{who}: {name} number"))
        for name, kind in (("proofOfIdentity", "CIN"), ("proofOfAddress", "RNC"))
    }
    return Applicant(identity, documents, biometrics)


def planted_biometrics(garden: Garden, seed: int) -> tuple[Any, ...]:
    """Return a person's biometrics; slices of every image and of a finger's template are canaries."""
    records = tuple(synthetic_biometrics(seed))
    for record in records:
        middle = len(record.bdb) // 2
        garden.plant(f"biometric {record.modality} {record.subtype}", record.bdb[middle : middle + 32])
    minutiae = template(records[0])
    garden.plant("finger template", minutiae[len(minutiae) // 2 : len(minutiae) // 2 + 24])
    return records


def _both(english: str, arabic: str) -> list[dict[str, str]]:
    return [{"language": "eng", "value": english}, {"language": "ara", "value": arabic}]


def _document(garden: Garden, name: str) -> bytes:
    scan = garden.plant(f"{name}, scan", garden.octets(32))
    return (
        b"%PDF-1.4\n"
        + garden.word(f"{name}, text").encode()
        + b"\n"
        + garden.octets(20_000)
        + scan
        + garden.octets(900)
    )


class Line:
    """The whole line, once. ``outside`` is a folder of the relying party's own."""

    def __init__(self, garden: Garden, platform: RunningPlatform, outside: Path) -> None:
        self.garden = garden
        self.platform = platform
        self.outside = outside
        garden.plant("sandbox password", SANDBOX_PASSWORD.reveal(), digests=True)
        garden.plant("sandbox secret", SANDBOX_SECRET.reveal(), digests=True)

    def session(self) -> Session:
        return Session(self.platform.url, self.garden)

    def enrolled(self) -> Registered:
        """Enrol the person that everything is about."""
        biometrics = planted_biometrics(self.garden, 20261124)
        applicant = planted_applicant(self.garden, "person", biometrics)
        with self.session() as session:
            person = enrol(session, self.platform.home, applicant)
        self.garden.plant("RID", person.rid.reveal(), digests=True)
        self.garden.plant("UIN", person.uin.reveal(), digests=True)
        self.garden.plant("VID, perpetual", person.vid.reveal(), digests=True)
        return person

    def partner(self) -> RelyingParty:
        """Register a relying party, and partners whose contacts are canaries, rightly and wrongly."""
        with self.session() as session:
            party = make_relying_party(session, "canary-clinic")
            self.garden.plant("API key", party.api_key.reveal(), digests=True)
            self.garden.plant("MISP licence key", party.licence_key.reveal(), digests=True)
            self.garden.private_key("relying party's key", party.key)
            write_client_files(party, self.outside)
            request = {
                "partnerId": "canary-partner",
                "policyGroup": "canary-clinic group",
                "organizationName": "Canary organisation",
                "address": self.garden.word("partner: address"),
                "contactNumber": self.garden.digits("partner: phone", "8", 10),
                "emailId": self.garden.email("partner: e-mail"),
                "partnerType": "AUTH_PARTNER",
            }
            path = "/v1/partnermanager/partners"
            session.call("POST", path, request)
            assert session.get(f"{path}/canary-partner")["emailId"] == request["emailId"]
            for wrong in (request, {**request, "partnerType": {"a": 1}}, {**request, "partnerId": "x" * 300}):
                session.fails("POST", path, json=session.envelope(wrong))
            licence = {
                "providerId": "canary-clinic",
                "licenseKey": party.licence_key.reveal(),
                "licenseKeyStatus": "None",
            }
            session.fails("PUT", "/v1/partnermanager/misps", json=session.envelope(licence))
            certificate = {"certificateData": self.garden.word("text that is no certificate"), "partnerDomain": "AUTH"}
            session.fails("POST", f"{path}/certificate/ca/upload", json=session.envelope(certificate))
        return party

    def reads(self, person: Registered) -> VID:
        """Ask for the person by every identifier, in paths and bodies; return a temporary VID."""
        identity = "/idrepository/v1/identity"
        uin, vid, rid = (number.reveal() for number in (person.uin, person.vid, person.rid))
        with self.session() as session:
            temporary = issue_vid(session, person.uin, "Temporary")
            self.garden.plant("VID, temporary", temporary.reveal(), digests=True)
            session.login_client("regproc", "mosip-regproc-client")
            for number in (uin, vid, rid):
                session.get(f"{identity}/idvid/{number}", type="all")
                session.send("POST", f"{identity}/idvid/", json={"id": number, "type": "demo"}).raise_for_status()
            for path in (f"{identity}/rid/{uin}", f"/idrepository/v1/vid/{vid}", f"/idrepository/v1/vid/uin/{uin}",
                         f"{identity}/authtypes/status/{uin}", f"{identity}/authtypes/status/{vid}",
                         f"/registrationprocessor/v1/registrationtransaction/search/{rid}"):  # fmt: skip
                session.get(path)
        return temporary

    def authentication(self, person: Registered, temporary: VID, party: RelyingParty) -> None:
        """Authenticate rightly and wrongly, with every factor, by every identifier."""
        client = PublicClient(CLIENT_PYTHON, self.outside)
        transactions = iter(range(4_000_000_000, 4_000_000_100))

        def call(name: str, identifier: UIN | VID, transaction: str, **arguments: Any) -> dict[str, Any]:
            return client.call(name, identifier, transaction, consent=True, **arguments)

        def otp(identifier: UIN | VID, *, phone: bool = False) -> tuple[str, str]:
            transaction = str(next(transactions))
            found = self._otp(client, person, identifier, transaction, phone=phone)
            names = {"UIN": person.uin.reveal(), "VID": person.vid.reveal(), "temporary VID": temporary.reveal()}
            self.garden.otp(found, names, transaction)
            return transaction, found

        transaction, right = otp(person.vid)
        wrong = f"{(int(right) + 1) % 10**6:06d}"
        self.garden.otp(wrong, {"VID": person.vid.reveal()}, transaction)
        assert not call("auth", person.vid, transaction, otp_value=wrong)["response"]["authStatus"]
        said = call("auth", person.vid, transaction, otp_value=right)
        assert said["response"]["authStatus"], said
        transaction, right = otp(temporary, phone=True)
        said = call("kyc", temporary, transaction, otp_value=right)
        assert said["response"]["kycStatus"], said
        assert said["opened"]["name_eng"] == person.applicant.names["eng"]
        otp(person.uin)

        names = [{"language": language, "value": value} for language, value in person.applicant.names.items()]
        right_name, wrong_name = names[:1], [{"language": "eng", "value": self.garden.word("a wrong name")}]
        for value, expected in ((right_name, True), (wrong_name, False)):
            said = call("auth", person.uin, str(next(transactions)), demographics={"name": value})
            assert said["response"]["authStatus"] is expected, said
        for unknown in (random_uin(), random_vid()):
            self.garden.plant("unknown identifier", unknown.reveal(), digests=True)
            assert client.call("genotp", unknown, str(next(transactions)), email=True)["errors"]
            assert call("auth", unknown, str(next(transactions)), demographics={"name": right_name})["errors"]
        self._garbage(person, party)

    def _otp(
        self, client: PublicClient, person: Registered, identifier: UIN | VID, transaction: str, *, phone: bool
    ) -> str:
        address = person.applicant.phone if phone else person.applicant.email
        limit = time.monotonic() + 20
        with self.platform.client() as session:
            before = len(session.messages(address))
            while client.call("genotp", identifier, transaction, email=not phone, phone=phone)["errors"]:
                assert time.monotonic() < limit, "no OTP was sent"
                time.sleep(0.2)
            while time.monotonic() < limit:
                messages = session.messages(address)
                for message in messages[: len(messages) - before]:
                    if found := OTP_PATTERN.search(message["body"]):
                        return found[0]
                time.sleep(0.05)
        raise AssertionError("no OTP arrived")

    def _garbage(self, person: Registered, party: RelyingParty) -> None:
        """Send the relying party's endpoints what they must refuse, with keys and numbers where they do not belong."""
        keys = f"{party.licence_key.reveal()}/canary-clinic/{party.api_key.reveal()}"
        body = {
            "id": "mosip.identity.auth",
            "individualId": person.uin.reveal(),
            "individualIdType": "UIN",
            "transactionID": person.vid.reveal(),
            "request": self.garden.word("request that is not encrypted"),
            "requestTime": person.rid.reveal(),
        }
        with self.session() as session:
            for path in (
                keys,
                f"{keys}/more",
                party.api_key.reveal(),
                self.garden.word("licence key in the wrong place"),
            ):
                for content in (json.dumps(body), json.dumps([body]), json.dumps(body)[:-5]):
                    for kind in ("auth", "otp", "kyc"):
                        session.fails("POST", f"/idauthentication/v1/{kind}/{path}", content=content)

    def changes(self, person: Registered) -> None:
        """Update the person, lock and unlock, revoke the VID."""
        identity = "/idrepository/v1/identity"
        uin = person.uin.reveal()
        with self.session() as session:
            session.login_client("regproc", "mosip-regproc-client")
            rid = session.get("/v1/ridgenerator/generate/rid/10001/10001")["rid"]
            update = {
                "registrationId": self.garden.plant("RID of the update", rid, digests=True),
                "identity": {
                    "IDSchemaVersion": 0.1,
                    "UIN": uin,
                    "addressLine1": _both(self.garden.word("new address"), self.garden.arabic("new Arabic address")),
                    "phone": self.garden.digits("new phone", "9", 10),
                    "email": self.garden.email("new e-mail"),
                },
            }
            session.call("PATCH", f"{identity}/", update, id="mosip.id.update", version="v1")
            for spoilt in (
                {**update, "registrationId": uin * 5},
                {**update, "identity": {**update["identity"], "phone": {"number": update["identity"]["phone"]}}},
                {**update, "identity": {**update["identity"], self.garden.word("unknown attribute"): uin}},
                {**update, "identity": {**update["identity"], "email": f"{update['identity']['email']} and more"}},
                {**update, "documents": [{"category": "proofOfIdentity", "value": f"*{uin}*"}]},
            ):
                envelope = session.envelope(spoilt, "mosip.id.update", "v1")
                session.fails("PATCH", f"{identity}/", json=envelope)
                session.fails("POST", f"{identity}/", json={**envelope, "id": "mosip.id.create"})
            session.login_client("resident", "mosip-resident-client")
            for locked in (True, False):
                request = {
                    "individualId": uin,
                    "individualIdType": "UIN",
                    "request": [{"authType": "otp", "locked": locked}, {"authType": "demo", "locked": locked}],
                }
                answer = session.send("POST", f"{identity}/authtypes/status", json=request)
                assert not answer.json()["errors"]
            request = {"individualId": uin, "individualIdType": "UIN", "request": [{"authType": uin, "locked": True}]}
            session.fails("POST", f"{identity}/authtypes/status", json=request)
            revocation = {"vidStatus": "REVOKED"}
            path = f"/idrepository/v1/vid/{person.vid.reveal()}"
            changed = session.call("PATCH", path, revocation, id="mosip.vid.update", version="v1")
            if restored := changed.get("restoredVid"):
                self.garden.plant("VID, restored", str(restored["VID"]), digests=True)
            session.fails("PATCH", path, json=session.envelope({"vidStatus": uin}, "mosip.vid.update", "v1"))

    def nonsense(self, person: Registered) -> None:
        """Send every kind of malformed message with the person's data in it."""
        uin, rid, name = person.uin.reveal(), person.rid.reveal(), person.applicant.names["eng"]
        identity = "/idrepository/v1/identity"
        whole = json.dumps(dict(person.applicant.identity))
        json_type = {"content-type": "application/json"}
        with self.session() as session:
            password = self.garden.word("wrong password", digests=True)
            for login in (
                lambda: session.login_user(OFFICER, Secret(password)),
                lambda: session.login_client(uin, self.garden.word("unknown client"), Secret(password)),
            ):
                with suppress(CallFailed):
                    login()
                    raise AssertionError("a wrong password was accepted")
            session.fails("GET", f"{identity}/idvid/{uin}")
            forged = self.garden.word("forged token")
            session.fails(
                "GET", f"{identity}/idvid/{uin}", headers={"authorization": f"Bearer {forged}.{forged}.{forged}"}
            )
            session.login_client("regproc", "mosip-regproc-client")
            for path in (f"idvid/{random_uin().reveal()}", f"idvid/{name}", f"idvid/{uin}?type={name}",
                         f"idvid/{uin}?idType={name}", f"{uin}", f"rid/{name}", f"authtypes/status/{name}"):  # fmt: skip
                session.fails("GET", f"{identity}/{path}")
            session.fails("DELETE", f"{identity}/idvid/{uin}")
            session.fails("GET", f"/nowhere/{uin}/{name}?email={person.applicant.email}")
            for body in (whole, whole[:-7], f"[{whole}]", '{"a":' * 60 + whole + "}" * 60, whole.encode("utf-16")):
                for path in (f"{identity}/", f"{identity}/idvid/", f"{identity}/authtypes/status", "/idrepository/v1/vid",
                             "/v1/authmanager/authenticate/clientidsecretkey",
                             "/registrationprocessor/v1/registrationstatus/search"):  # fmt: skip
                    session.fails("POST", path, content=body, headers=json_type)
            huge = json.dumps({"name": name, "filler": "x" * (7 << 20)})
            session.fails("POST", f"{identity}/", content=huge, headers=json_type)
            receiver = "/registrationprocessor/v1/packetreceiver/registrationpackets"
            session.fails("POST", receiver, content=whole)
            session.fails("POST", receiver, files={"file": (f"{rid}.zip", whole.encode(), "application/zip")})
            session.fails("POST", receiver, files={"file": (f"../{name}.zip", whole.encode(), "application/zip")})
            session.fails("POST", receiver, files={name: (name, whole.encode() * 2000, "text/plain")})
            for content in (json.dumps(whole), whole, name):
                session.fails(
                    "POST", "/registrationprocessor/v1/registrationstatus/syncV2", content=content,
                    headers={"Center-Machine-RefId": "10001_10001", "timestamp": rid, **json_type},
                )  # fmt: skip
            session.send("POST", "/registrationprocessor/v1/registrationstatus/search",
                         json=session.envelope([{"registrationId": uin}, {"registrationId": name}], "mosip.registration.status"))  # fmt: skip

    def failing_packets(self, person: Registered) -> None:
        """Upload packets that are refused, that fail their examination, and that are of a person known already."""
        applicant = planted_applicant(self.garden, "refused", person.applicant.biometrics)
        with self.session() as session:
            station = RegistrationStation(session, self.platform.home)
            enrolment, packet = station.build(applicant)
            flipped = replace(packet, sealed=packet.sealed[:-9] + bytes([packet.sealed[-9] ^ 1]) + packet.sealed[-8:])
            self._rid(enrolment)
            station.announce(enrolment, packet, applicant)
            for broken in (flipped, replace(packet, sealed=packet.sealed[:100]), replace(packet, id=str(uuid.uuid4()))):
                try:
                    station.upload(broken)
                except CallFailed:
                    continue
                raise AssertionError("a broken packet was taken")
            broken = {**applicant.identity, "phone": self.garden.word("phone that is none")}
            # A flipped byte under a right hash passes the receiver and fails when it is opened.
            known = planted_applicant(self.garden, "known already", person.applicant.biometrics)
            twin = replace(person.applicant, documents=applicant.documents)
            for case, changed, last in (
                (replace(applicant, identity=broken), {}, "VALIDATE_PACKET"),
                (applicant, {"sealed": flipped.sealed}, "UPLOAD_PACKET"),
                (known, {}, "MANUAL_ADJUDICATION"),
                (twin, {}, "MANUAL_ADJUDICATION"),
            ):
                enrolment, packet = station.build(case)
                packet = replace(packet, **changed)
                station.announce(enrolment, packet, case)
                station.upload(packet)
                self._await_step(session, self._rid(enrolment), last)
                session.fails("GET", f"/idrepository/v1/identity/idvid/{enrolment.rid.reveal()}")

    def _await_step(self, session: Session, rid: str, wanted: str) -> None:
        """Wait until the registration's last step is the ``wanted`` one, and did not end well."""
        session.login_client("regproc", "mosip-regproc-client")
        limit = time.monotonic() + 40
        while True:
            step = session.get(f"/registrationprocessor/v1/registrationtransaction/search/{rid}")[-1]
            if step["transactionTypeCode"] == wanted and step["statusCode"] != "SUCCESS":
                return
            assert time.monotonic() < limit, step
            time.sleep(0.1)

    def _rid(self, enrolment: Enrolment) -> str:
        return str(self.garden.plant("RID", enrolment.rid.reveal(), digests=True))


def some_passphrase() -> str:
    """Return a passphrase that nobody else has."""
    return "-".join(secrets.token_hex(5) for _ in range(4))
