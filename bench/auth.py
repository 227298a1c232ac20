"""Area ``auth``: authentications per second against what the cores could do if they did nothing but its cryptography.

Everything shares this machine: web processes, key process, worker, database, mail catcher and the load. A relying
party's own work (sealing and signing its requests) is done before each step, a step takes one OTP of every person.
"""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import psutil
from rich.console import Console
from rich.progress import Progress

from bench import machine
from bench.client import Client, Wanted
from bench.figures import Figure
from bench.load import HEAD_START, LoadProcesses, arrivals
from bench.platform import HOST, Person, RunningPlatform, add_people, running
from civium.apps.sandbox.client import Platform
from civium.apps.sandbox.relying_party import make_relying_party
from civium.kernel.clock import SystemClock, monotonic

PEOPLE = 1_000
P99_SECONDS = 0.3
"""A rate holds when 99 of 100 answers come within this time (examples section 4.2, promise 5), none with an error."""
STEPS = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.50, 0.60)
"""Offered rates as parts of the cryptography's ceiling. They rise until one does not hold."""
MOST_SECONDS = 100.0
"""After which the offered rate of one kind of request rises no more: on a slow or busy machine."""
PREPARING_SECONDS = 6.0
"""How far ahead of a step its requests are made: they carry the instants at which they will be sent."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step went."""

    offered: float
    latencies: Sequence[float] = field(repr=False)
    failures: Mapping[str, int]
    seconds: float
    """From the first scheduled instant to the last answer."""
    cpu: Mapping[str, float]
    """CPU milliseconds of each part per request, until everything was delivered."""
    backlog: int
    """Events that were undelivered at the last answer."""
    settled: float
    """Seconds from the last answer until everything was delivered."""
    memory_megabytes: float
    foreign: float
    """The part of all cores' time that programs outside this benchmark took meanwhile."""

    @property
    def answered(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    @property
    def delivered(self) -> float:
        """Requests per second, counted until their audit records and notices were delivered too."""
        return len(self.latencies) / (self.seconds + self.settled)

    @property
    def holds(self) -> bool:
        """Whether the platform kept up with its answers."""
        return not self.failures and self.quantile(0.99) <= P99_SECONDS

    def quantile(self, part: float) -> float:
        """Return the latency that ``part`` of the answers did not exceed, in seconds."""
        return sorted(self.latencies)[math.ceil(part * len(self.latencies)) - 1]

    def __str__(self) -> str:
        cpu = ", ".join(f"{name} {spent:.2f}" for name, spent in self.cpu.items())
        return (
            f"offered {self.offered:.0f}/s, answered {self.answered:.0f}/s, p50 {self.quantile(0.5) * 1e3:.0f} ms, "
            f"p99 {self.quantile(0.99) * 1e3:.0f} ms, failures {dict(self.failures)}, "
            f"backlog {self.backlog} settled in {self.settled:.1f} s, {self.memory_megabytes:.0f} MB; "
            f"CPU ms per request: {cpu}; other programs took {self.foreign:.0%} of the machine"
        )


class Bench:
    """The platform with its people and a relying party, and the means to load it."""

    def __init__(
        self, platform: RunningPlatform, people: Sequence[Person], client: Client, load: LoadProcesses
    ) -> None:
        self._platform = platform
        self._people = people
        self._client = client
        self._load = load
        self._clock = SystemClock()
        self._transactions = itertools.count(1_000_000_000)

    def otp_requests(self, rate: float) -> tuple[Outcome, list[tuple[Person, str, str]]]:
        """Ask for an OTP for every person; return also person, transaction and OTP, once all messages arrived."""
        since = self._clock.now().isoformat()
        asked = [(person, str(next(self._transactions))) for person in self._people]
        outcome = self._step(rate, lambda dues: [
            Wanted(person.uin, transaction, due) for (person, transaction), due in zip(asked, dues, strict=True)
        ])  # fmt: skip
        otps = self._platform.one_time_passwords(since)
        return outcome, [
            (person, transaction, otps[person.email]) for person, transaction in asked if person.email in otps
        ]

    def otp_authentications(self, rate: float, sent: Sequence[tuple[Person, str, str]]) -> Outcome:
        """Authenticate everybody with their OTP."""
        return self._step(rate, lambda dues: [
            Wanted(person.uin, transaction, due, otp=otp)
            for (person, transaction, otp), due in zip(sent, dues, strict=False)
        ])  # fmt: skip

    def name_authentications(self, rate: float) -> Outcome:
        """Authenticate everybody by their name."""
        return self._step(rate, lambda dues: [
            Wanted(person.uin, str(next(self._transactions)), due, name=person.name)
            for person, due in zip(self._people, dues, strict=True)
        ])  # fmt: skip

    def _step(self, rate: float, make: Callable[[Sequence[float]], list[Wanted]]) -> Outcome:
        begin, start = self._clock.now() + timedelta(seconds=PREPARING_SECONDS), monotonic() + PREPARING_SECONDS
        wanted = make(arrivals(len(self._people), rate, seed=int(rate)))
        shots = self._client.prepare(wanted, begin)
        if (wait := start - monotonic() - HEAD_START) > 0:
            time.sleep(wait)
        before, began = self._platform.cpu_seconds(), self._usage()
        hits = self._load.fire(shots, start)
        ended, use = monotonic(), self._usage() - began
        backlog, memory = self._platform.undelivered(), self._platform.memory_megabytes()
        self._platform.settle()
        settled = monotonic() - ended
        after = self._platform.cpu_seconds()
        return Outcome(
            offered=rate,
            latencies=[hit.latency for hit in hits],
            failures=Counter(code for hit in hits if (code := _failure(hit.body)) is not None),
            seconds=max(hit.due + hit.latency for hit in hits),
            cpu={name: (after[name] - before[name]) * 1000 / len(hits) for name in after},
            backlog=backlog,
            settled=settled,
            memory_megabytes=memory,
            foreign=use.foreign,
        )

    def _usage(self) -> "_Usage":
        ours = sum(self._platform.cpu_seconds().values())
        for process in psutil.Process().children():
            times = process.cpu_times()
            ours += times.user + times.system
        whole = psutil.cpu_times()
        return _Usage(ours, sum(whole) - whole.idle - whole.iowait - whole.guest - whole.guest_nice, sum(whole))


@dataclass(frozen=True, slots=True)
class _Usage:
    """CPU seconds: the benchmark's and the platform's, those that were used at all, and those that passed."""

    ours: float
    used: float
    passed: float

    def __sub__(self, other: "_Usage") -> "_Usage":
        return _Usage(self.ours - other.ours, self.used - other.used, self.passed - other.passed)

    @property
    def foreign(self) -> float:
        """The part that others used."""
        return max(0.0, self.used - self.ours) / self.passed


def _failure(body: bytes) -> str | None:
    """Return why an answer is no success: its last error code."""
    if not body:
        return "no answer"
    answer = msgspec.json.decode(body)
    if answer["errors"]:
        return str(answer["errors"][-1]["errorCode"])
    return None if (answer["response"] or {}).get("authStatus", True) else "not authenticated"


def run(console: Console) -> Iterator[Figure]:
    """Measure; three to six minutes."""
    with console.status("Measuring this machine's cores ..."):
        limits = machine.measure()
    with running(CIVIUM_AUTHENTICATION__OTP_REQUESTS_PER_MINUTE="1000000") as platform:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"Adding {PEOPLE} people", total=PEOPLE)
            began = monotonic()
            people = add_people(platform, PEOPLE, added=lambda: progress.advance(task))
            adding = monotonic() - began
        with Platform(platform.url) as caller:
            party = make_relying_party(caller, "bench-party")
        time.sleep(1.0)
        platform.settle()
        with Client(party) as client, LoadProcesses(HOST, platform.port) as load:
            bench = Bench(platform, people, client, load)
            outcomes = _measured(bench, limits.authentications, console)
    with console.status("Measuring this machine's cores again ..."):
        limits = limits.best(machine.measure())
    yield from limits.figures()
    yield Figure("people added by the identity API until they can be authenticated", PEOPLE / adding, "1/s")
    for name, steps in outcomes.items():
        yield from _figures(name, steps, limits.authentications if name != OTP_REQUEST else None)


OTP_REQUEST = "OTP request (by mail)"
OTP_AUTHENTICATION = "OTP authentication"
NAME_AUTHENTICATION = "demographic authentication (name)"


def _measured(bench: Bench, ceiling: float, console: Console) -> Mapping[str, list[Outcome]]:
    """Return the steps of each kind of request, up to the first that did not hold or until the time is up."""
    otp_requests: list[Outcome] = []
    otp_authentications: list[Outcome] = []
    names: list[Outcome] = []

    def told(name: str, outcome: Outcome) -> Outcome:
        console.print(f"{name}: {outcome}", highlight=False)
        return outcome

    with console.status("Warming up ..."):
        bench.name_authentications(STEPS[0] * ceiling)
    began = monotonic()
    for part in STEPS:
        with console.status(f"OTP requests, then authentications, at {part * ceiling:.0f}/s ..."):
            holding = max((step.offered for step in otp_requests if step.holds), default=0.0)
            rate = part * ceiling if all(step.holds for step in otp_requests) else holding or STEPS[0] * ceiling
            requested, sent = bench.otp_requests(rate)
            otp_requests.append(told(OTP_REQUEST, requested))
            otp_authentications.append(told(OTP_AUTHENTICATION, bench.otp_authentications(part * ceiling, sent)))
        if not otp_authentications[-1].holds or monotonic() - began > MOST_SECONDS:
            break
    began = monotonic()
    for part in STEPS:
        with console.status(f"Authentications by name at {part * ceiling:.0f}/s ..."):
            names.append(told(NAME_AUTHENTICATION, bench.name_authentications(part * ceiling)))
        if not names[-1].holds or monotonic() - began > MOST_SECONDS:
            break
    return {OTP_REQUEST: otp_requests, OTP_AUTHENTICATION: otp_authentications, NAME_AUTHENTICATION: names}


def _figures(name: str, steps: Sequence[Outcome], limit: float | None) -> Iterator[Figure]:
    held = [step for step in steps if step.holds]
    best = max(held or steps[:1], key=lambda step: step.answered)
    note = "" if held else " (no rate held: the lowest)"

    def figure(what: str, rate: float) -> Figure:
        return Figure(
            f"{name}, {what}{note}", rate, "1/s", limit, rate / limit if limit else None,
            best.quantile(0.5) * 1e3, best.quantile(0.99) * 1e3, best.memory_megabytes, PEOPLE,
        )  # fmt: skip

    yield figure("answered", best.answered)
    yield figure("until all is delivered", best.delivered)
    yield Figure(f"{name}, other programs' part of the machine meanwhile", best.foreign * 100, "%")
    for part, spent in best.cpu.items():
        yield Figure(f"{name}, CPU of {part}", spent, "ms per request")
