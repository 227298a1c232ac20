"""Kill -9 at named points and at random, with production durability: nothing acknowledged is lost, no second UIN.

One installation bears it all. A fault point takes the one process that reaches it, while the rest runs on; some cases
then take the whole process tree, the database included, and start again with what is on the disk. Every case ends
with the same examination of everything that was ever enrolled.
"""

import asyncio
import dataclasses
import hashlib
import itertools
import logging
import os
import random
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from cryptography import x509

from authentication_world import Client
from civium.apps.sandbox.applicant import Applicant, make_applicant, make_identity
from civium.apps.sandbox.client import CallFailed, Platform
from civium.apps.sandbox.registration import REGISTERED, RegistrationStation, find_uin, issue_vid
from civium.apps.sandbox.relying_party import RelyingParty, make_relying_party
from civium.biometrics.api import Modality
from civium.kernel.identifiers import RID, UIN, VID
from civium.platform.postgres import OWNER, Cluster
from platform_fixtures import RunningPlatform

pytestmark = [pytest.mark.kill, pytest.mark.xdist_group("kill")]
_log = logging.getLogger(__name__)

UPLOAD_UNACKNOWLEDGED = (
    "objects.unfinished",
    "registration.upload.object-written",
    "registration.upload.before-commit",
)
ONE, ALL = "one process", "everything"
AFTER_UPLOAD = (
    ("registration.process.validated", ONE),
    ("identity.mint.reserved", ONE),
    ("identity.create.objects-written", ONE),
    ("registration.upload.committed", ALL),
    ("identity.create.before-commit", ONE),
    ("identity.create.committed", ONE),
    ("registration.process.before-commit", ONE),
    ("identity.mint.reserved", ALL),
    ("credentials.issue.requested", ONE),
    ("credentials.issue.before-commit", ONE),
    ("authentication.intake.before-commit", ONE),
    ("identity.create.before-commit", ALL),
    ("dispatcher.handled", ONE),
    ("notify.sent", ONE),
)
"""What dies where. A part that keeps dying is restarted ever more slowly; a fresh start of everything forgets that."""
AUTHENTICATION = (
    "authentication.found",
    "authentication.decided",
    "authentication.before-commit",
    "authentication.committed",
)
POINTS = {*UPLOAD_UNACKNOWLEDGED, *(point for point, _ in AFTER_UPLOAD), *AUTHENTICATION}

KILLS = 12
TEMPORARY_VID_USES = 2
OTP_USED = {"IDA-OTA-012", "IDA-OTA-005", "IDA-OTA-010"}
ID_UNKNOWN = "IDA-MLC-018"
DUPLICATE = "RPR-PKR-005"


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "did not happen in time"
        time.sleep(0.02)
    return found


def insist(act: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Repeat what is safe to repeat until the platform, or what is left of it, answers."""
    limit = time.monotonic() + seconds
    while True:
        try:
            return act()
        except (httpx.HTTPError, CallFailed):
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)


def acknowledged(act: Callable[[], Any]) -> bool:
    """Do something once; False when the connection broke before an answer came."""
    try:
        act()
    except httpx.TransportError:
        return False
    return True


class People:
    """Adults who share no finger at the same place, from few drawn ones: each passes the fingers on by one place."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._drawn: list[Applicant] = []
        self._lock = threading.Lock()

    def next(self) -> Applicant:
        with self._lock:
            number = next(self._numbers)
            if number % 10 == 0:
                self._drawn.append(make_applicant(7_000_000 + number))
            drawn = self._drawn[-1]
        fingers = [record for record in drawn.biometrics if record.modality is Modality.FINGER]
        others = [record for record in drawn.biometrics if record.modality is not Modality.FINGER]
        turn = number % len(fingers)
        turned = [
            dataclasses.replace(image, subtype=place.subtype)
            for place, image in zip(fingers, fingers[turn:] + fingers[:turn], strict=True)
        ]
        identity = {**drawn.identity, **make_identity(8_000_000 + number)}
        return dataclasses.replace(drawn, identity=identity, biometrics=(*turned, *others))


@dataclass(frozen=True)
class Enrolled:
    rid: RID
    uin: UIN
    applicant: Applicant = field(repr=False)

    @property
    def name(self) -> dict[str, Any]:
        return {"name": [{"language": "eng", "value": self.applicant.names["eng"]}]}


class Wire:
    """What the relying party's own client needs to know: address, clock, certificates."""

    def __init__(self, party: RelyingParty, http: httpx.AsyncClient) -> None:
        self.http = http
        self.encryption_certificate = x509.load_pem_x509_certificate(party.encryption_certificate_pem.encode())
        self.leaves = {party.partner_id: party.certificate}

    def instant(self) -> str:
        now = datetime.now(UTC)
        return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"


class Trial:
    """The installation under trial, and all that it has promised so far."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.triggers = home / "triggers"
        self.triggers.mkdir()
        armed = ",".join(f"{name}@{self.triggers / name}" for name in POINTS)
        self.running = RunningPlatform(home, environment={"CIVIUM_FAULT": armed})
        self.people = People()
        self.enrolled: list[Enrolled] = []
        self.party: RelyingParty | None = None
        self._transactions = itertools.count(3_000_000_000)

    # Faults

    def arm(self, point: str) -> None:
        (self.triggers / point).touch()

    def struck(self, point: str) -> bool:
        return not (self.triggers / point).exists()

    def parts(self) -> dict[str, list[psutil.Process]]:
        """All processes but the supervisor, by kind: key process, web, worker, database server, its sessions, ..."""
        kinds: dict[str, list[psutil.Process]] = {}
        for process in self.running.tree()[1:]:
            with suppress(psutil.NoSuchProcess):
                words = " ".join(process.cmdline()).split() or ["ended"]
                kind = next((word for word in words if word.startswith("civium.")), Path(words[0]).name)
                kinds.setdefault(kind, []).append(process)
        kinds.pop("ended", None)
        return kinds

    def kill_tree(self) -> None:
        """Kill everything at once, as a power cut would; nothing is left."""
        tree = self.running.tree()
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.running.process.wait()
        self.running.process = None
        psutil.wait_procs(tree, timeout=10)
        until(lambda: not self.processes(), 10)

    def processes(self) -> set[int]:
        """Every process on the machine that belongs to this installation."""
        found = set()
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get("CIVIUM_HOME") == str(self.home) or str(self.home) in " ".join(
                    process.cmdline()
                ):
                    found.add(process.pid)
        return found - {os.getpid()}

    # What the database says behind the curtain

    def owner(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(Cluster(self.home).dsn(OWNER).reveal())
            try:
                return await connection.fetch(statement, *arguments)
            finally:
                await connection.close()

        limit = time.monotonic() + 30
        while True:
            try:
                return asyncio.run(run())
            except (OSError, asyncpg.PostgresError):
                if time.monotonic() > limit:
                    raise
                time.sleep(0.1)

    def count(self, table: str, condition: str = "true", *arguments: object) -> int:
        return self.owner(f"SELECT count(*) AS n FROM {table} WHERE {condition}", *arguments)[0]["n"]

    def notices(self) -> dict[str, int]:
        """How many messages were sent, counted once each, by channel."""
        return {channel: self.count("notify.sent", "channel = $1", channel) for channel in ("email", "sms")}

    def settle(self) -> None:
        """Wait until every packet is worked through and every event has reached its consumers; none was given up."""
        tables = [f"{schema}.{table}" for schema in ("outbox_core", "outbox_auth") for table in ("outbox", "delivery")]
        query = " UNION ALL ".join(f"SELECT 1 FROM {table}" for table in ("registration.work", *tables))
        until(lambda: not self.owner(query), 45)
        for schema in ("outbox_core", "outbox_auth"):
            assert not self.owner(f"SELECT topic, consumer, reason FROM {schema}.dead_letter")

    # Enrolment

    def finish(self, client: Platform, station: RegistrationStation, rid: RID, applicant: Applicant) -> Enrolled:
        """Follow an acknowledged packet to its UIN, by status alone."""
        until(lambda: insist(lambda: station.status(rid)) == REGISTERED)
        person = Enrolled(rid, insist(lambda: find_uin(client, rid)), applicant)
        self.enrolled.append(person)
        return person

    def enrol(self) -> Enrolled:
        applicant = self.people.next()
        with self.running.client() as client:
            station = RegistrationStation(client, self.home)
            enrolment, packet = station.build(applicant)
            station.announce(enrolment, packet, applicant)
            station.upload(packet)
            return self.finish(client, station, enrolment.rid, applicant)

    # Authentication

    def transaction(self) -> str:
        return str(next(self._transactions))

    def ask(self, usage: str, identifier: UIN | VID, transaction: str, **what: Any) -> dict[str, Any]:
        """Make one call of a relying party; raises httpx.TransportError when no answer comes."""

        async def run() -> dict[str, Any]:
            async with httpx.AsyncClient(base_url=self.running.url, timeout=30) as http:
                wire = Wire(self.party, http)
                client = Client(
                    wire, partner_id=self.party.partner_id, licence_key=self.party.licence_key.reveal(),
                    api_key=self.party.api_key.reveal(), key=self.party.key,
                )  # fmt: skip
                domain = {} if usage == "otp" else {"domainUri": self.running.url}
                if "otp" in what or "demographics" in what:
                    chosen = {"otp": "otp" in what, "demo": "demographics" in what, "pin": False, "bio": False}
                    domain["requestedAuth"] = chosen
                return await client.send(usage, identifier.reveal(), transactionID=transaction, **domain, **what)

        return asyncio.run(run())

    def authenticate(self, identifier: UIN | VID, transaction: str | None = None, **factors: Any) -> str | None:
        """Return None for yes, else the code of the refusal."""
        answer = self.ask("auth", identifier, transaction or self.transaction(), **factors)
        assert answer["response"]["authStatus"] is not bool(answer["errors"]), answer
        return answer["errors"][-1]["errorCode"] if answer["errors"] else None

    def known(self, identifier: UIN | VID, person: Enrolled) -> None:
        """Wait until a person's credential has reached authentication; the yes counts as a use."""

        def found() -> bool:
            code = insist(lambda: self.authenticate(identifier, demographics=person.name))
            assert code in {None, ID_UNKNOWN}
            return code is None

        until(found)

    def otps(self, person: Enrolled) -> list[str]:
        with self.running.client() as client:
            messages = insist(lambda: client.messages(person.applicant.email))
        return [found[0] for message in messages if (found := re.search(r"(?<!\d)\d{6}(?!\d)", message["body"]))]

    def otp(self, person: Enrolled, transaction: str) -> str:
        before = len(self.otps(person))
        answer = self.ask("otp", person.uin, transaction, otpChannel=["email"])
        assert answer["errors"] is None, answer
        return self.next_otp(person, before)

    def next_otp(self, person: Enrolled, before: int) -> str:
        return until(lambda: (found := self.otps(person))[: len(found) - before])[0]

    def successes(self, transaction: str) -> int:
        return self.count("authentication.auth_transaction", "transaction_id = $1 AND succeeded", transaction)

    # The examination

    def examine(self) -> None:
        """Check all that must hold whatever died."""
        self.settle()
        people = self.enrolled
        assert self.running.process.poll() is None
        # Exactly one number and one person for each registration, and the same ones as ever.
        assert self.count("identity.mint") == self.count("identity.person") == len(people)
        assert self.count("registration.registration", "status = 'PROCESSED'") == len(people)
        assert self.count("registration.registration") == len(people)
        assert len({person.uin.reveal() for person in people}) == len(people)
        with self.running.client() as client:
            for person in people[-3:]:
                assert find_uin(client, person.rid) == person.uin
                # Opens every stored file: a torn one would not.
                found = client.get(f"/idrepository/v1/identity/idvid/{person.uin.reveal()}", type="all")
                assert {"individualBiometrics", "proofOfIdentity"} <= {file["category"] for file in found["documents"]}
        # Each person is known to authentication, once.
        for person in people[-3:]:
            self.known(person.uin, person)
        issued = self.owner("SELECT status FROM credentials.credential_request")
        assert {row["status"] for row in issued} == {"ISSUED"}
        assert self.count("authentication.identity_cache") <= len(issued)
        # The packets are whole.
        for row in self.owner("SELECT object_name, checksum FROM registration.registration"):
            sealed = (self.home / "objects" / row["object_name"]).read_bytes()
            assert hashlib.sha256(sealed).digest() == row["checksum"]
        # No process is left over that nobody watches.
        until(lambda: self.processes() <= {process.pid for process in self.running.tree()}, 10)
        self.settle()


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    home = Path(tempfile.mkdtemp(prefix="civium-kill-"))
    home.chmod(0o711)
    trial = Trial(home)
    try:
        trial.running.start()
        with trial.running.client() as client:
            trial.party = make_relying_party(client, "trial-clinic")
        yield trial
        trial.running.stop()
        assert not trial.processes()
    finally:
        if trial.running.process is not None:
            trial.kill_tree()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def whole(trial: Trial) -> Iterator[None]:
    """Before each case every part runs, after it everything holds."""
    yield
    if trial.running.process is not None:
        trial.examine()


@pytest.mark.parametrize("point", UPLOAD_UNACKNOWLEDGED)
def test_an_upload_that_was_not_acknowledged_is_repeated(trial, point):
    applicant = trial.people.next()
    with trial.running.client() as client:
        station = RegistrationStation(client, trial.home)
        enrolment, packet = station.build(applicant)
        station.announce(enrolment, packet, applicant)
        before = trial.notices()
        trial.arm(point)
        assert not acknowledged(lambda: station.upload(packet))
        assert trial.struck(point)
        assert insist(lambda: station.status(enrolment.rid)) == "UPLOAD_PENDING"
        station.upload(packet)
        trial.finish(client, station, enrolment.rid, applicant)
    trial.settle()
    assert trial.notices() == {channel: count + 1 for channel, count in before.items()}


def test_an_upload_whose_acknowledgement_was_lost_is_not_taken_twice(trial):
    applicant = trial.people.next()
    with trial.running.client() as client:
        station = RegistrationStation(client, trial.home)
        enrolment, packet = station.build(applicant)
        station.announce(enrolment, packet, applicant)
        trial.arm("registration.upload.committed")
        assert not acknowledged(lambda: station.upload(packet))
        with pytest.raises(CallFailed) as refused:
            station.upload(packet)
        assert refused.value.codes == (DUPLICATE,)
        trial.finish(client, station, enrolment.rid, applicant)


@pytest.mark.parametrize(("point", "victims"), AFTER_UPLOAD)
def test_an_acknowledged_packet_reaches_its_only_uin(trial, point, victims):
    applicant = trial.people.next()
    before = trial.notices()
    with trial.running.client() as client:
        station = RegistrationStation(client, trial.home)
        enrolment, packet = station.build(applicant)
        station.announce(enrolment, packet, applicant)
        trial.arm(point)
        assert acknowledged(lambda: station.upload(packet)) or point == "registration.upload.committed"
        until(lambda: trial.struck(point))
        if victims == ALL:
            trial.kill_tree()
            trial.running.start()
            assert list((trial.home / "objects" / ".unfinished").iterdir()) == []
        person = trial.finish(client, station, enrolment.rid, applicant)
        trial.settle()
        # Noted once for each channel. A message itself is sent at least once: twice if we died before the note.
        assert trial.notices() == {channel: count + 1 for channel, count in before.items()}
        told = [message["body"] for message in client.messages(applicant.email)]
        copies = [body for body in told if person.rid.reveal() in body]
        assert len(copies) == (2 if point == "notify.sent" else 1)


@pytest.fixture(scope="module")
def customer(trial: Trial) -> Callable[[], Enrolled]:
    """Give an enrolled person, each a few times only: OTP requests are limited to five a minute."""
    turns = itertools.count()

    def choose() -> Enrolled:
        while len(trial.enrolled) < 3:
            trial.enrol()
        person = trial.enrolled[next(turns) % len(trial.enrolled)]
        trial.known(person.uin, person)
        trial.settle()
        return person

    return choose


@pytest.mark.parametrize("point", ["authentication.decided", "authentication.before-commit"])
def test_an_otp_request_without_answer_left_nothing(trial, customer, point):
    person, transaction = customer(), trial.transaction()
    before = len(trial.otps(person))
    trial.arm(point)
    assert not acknowledged(lambda: trial.ask("otp", person.uin, transaction, otpChannel=["email"]))
    assert trial.successes(transaction) == 0
    trial.settle()
    assert len(trial.otps(person)) == before
    otp = trial.otp(person, transaction)
    assert trial.authenticate(person.uin, transaction, otp=otp) is None


def test_an_otp_that_was_made_arrives_and_counts_though_the_answer_was_lost(trial, customer):
    person, transaction = customer(), trial.transaction()
    before = len(trial.otps(person))
    trial.arm("authentication.committed")
    assert not acknowledged(lambda: trial.ask("otp", person.uin, transaction, otpChannel=["email"]))
    assert trial.successes(transaction) == 1
    assert trial.authenticate(person.uin, transaction, otp=trial.next_otp(person, before)) is None


@pytest.mark.parametrize("point", AUTHENTICATION)
def test_an_otp_counts_exactly_once(trial, customer, point):
    person, transaction = customer(), trial.transaction()
    otp = trial.otp(person, transaction)
    requested = trial.successes(transaction)
    trial.arm(point)
    assert not acknowledged(lambda: trial.authenticate(person.uin, transaction, otp=otp))
    counted = point == "authentication.committed"
    assert trial.successes(transaction) == requested + counted
    codes = [trial.authenticate(person.uin, transaction, otp=otp) for _ in range(2)]
    assert codes.count(None) == (0 if counted else 1)
    assert set(codes) - {None} <= OTP_USED
    assert trial.successes(transaction) == requested + 1


@pytest.mark.parametrize("point", ["authentication.before-commit", "authentication.committed"])
def test_no_use_of_a_vid_is_lost_or_won(trial, customer, point):
    person = customer()
    with trial.running.client() as client:
        vid = issue_vid(client, person.uin, "Temporary")
    trial.settle()
    trial.arm(point)
    assert not acknowledged(lambda: trial.authenticate(vid, demographics=person.name))
    codes = [trial.authenticate(vid, demographics=person.name) for _ in range(TEMPORARY_VID_USES + 1)]
    left = TEMPORARY_VID_USES - (point == "authentication.committed")
    assert codes == [None] * left + [ID_UNKNOWN] * (TEMPORARY_VID_USES + 1 - left)


def test_everything_dies_after_a_yes(trial, customer):
    person, transaction = customer(), trial.transaction()
    with trial.running.client() as client:
        vid = issue_vid(client, person.uin, "Temporary")
    trial.settle()
    otp = trial.otp(person, transaction)
    requested = trial.successes(transaction)
    assert trial.authenticate(vid, demographics=person.name) is None
    assert trial.authenticate(person.uin, transaction, otp=otp) is None
    trial.kill_tree()
    trial.running.start()
    assert trial.successes(transaction) == requested + 1
    assert trial.authenticate(person.uin, transaction, otp=otp) in OTP_USED
    codes = [trial.authenticate(vid, demographics=person.name) for _ in range(TEMPORARY_VID_USES)]
    assert codes == [None] * (TEMPORARY_VID_USES - 1) + [ID_UNKNOWN]


def test_random_kills_under_load_lose_nothing(trial, customer):
    seed = secrets.randbelow(2**32)
    _log.warning("seed %d", seed)
    chance = random.Random(seed)
    person, over = customer(), threading.Event()
    applicants = [trial.people.next() for _ in range(4)]
    answers: dict[str, str | None] = {}

    def bring(applicant: Applicant) -> None:
        with trial.running.client() as client:
            station = RegistrationStation(client, trial.home)
            enrolment, packet = insist(lambda: station.build(applicant))
            insist(lambda: station.announce(enrolment, packet, applicant))

            def upload() -> None:
                try:
                    station.upload(packet)
                except CallFailed as problem:
                    if problem.codes != (DUPLICATE,):
                        raise

            insist(upload)
            over.wait(120)
            trial.finish(client, station, enrolment.rid, applicant)

    def ask() -> None:
        while not over.is_set():
            transaction = trial.transaction()
            with suppress(httpx.TransportError, AssertionError):
                answers[transaction] = trial.authenticate(person.uin, transaction, demographics=person.name)

    with ThreadPoolExecutor(len(applicants) + 1) as pool:
        work = [pool.submit(ask), *(pool.submit(bring, applicant) for applicant in applicants)]
        try:
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.3, 2.0))
                kinds = trial.parts()
                kind = chance.choice(sorted(kinds))
                _log.warning("kill %s", kind)
                with suppress(psutil.NoSuchProcess):
                    chance.choice(kinds[kind]).kill()
        finally:
            over.set()
        for each in work:
            each.result(120)
    yes = [transaction for transaction, code in answers.items() if code is None]
    assert yes
    for transaction in yes:
        assert trial.successes(transaction) == 1
