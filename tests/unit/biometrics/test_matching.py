import asyncio
import os
import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import nbis
import pytest

from civium.biometrics import extraction, images
from civium.biometrics.api import (
    MATCH_THRESHOLD,
    BiometricRecord,
    FingerMatcher,
    InvalidBiometrics,
    Modality,
    QualityJudge,
)
from civium.biometrics.iso import minutiae
from civium.biometrics.matching import NbisFingerMatcher
from civium.biometrics.wiring import build
from civium.biometrics.worker import Extract, Extracted
from civium.biometrics.workers import WorkerPool
from civium.kernel.errors import Unavailable


def fingers(records: Iterable[BiometricRecord]) -> list[BiometricRecord]:
    return [record for record in records if record.modality is Modality.FINGER]


async def test_same_fingers_score_high_and_others_low(
    matcher: NbisFingerMatcher, person, person_again, stranger
) -> None:
    enrolled = await matcher.templates(fingers(person))
    again = await matcher.templates(fingers(person_again))
    other = await matcher.templates(fingers(stranger))
    assert len(enrolled) == 10
    one_by_one = [await matcher.best_score({name: found}, [enrolled]) for name, found in again.items()]
    assert min(score for (score,) in one_by_one) >= 60
    scores = await matcher.best_score(again, [enrolled, other, {}, other | {"Left Thumb": enrolled["Left Thumb"]}])
    assert scores[0] >= 60
    assert scores[1] < MATCH_THRESHOLD
    assert scores[2] == 0
    assert scores[3] == scores[1]


async def test_fingers_of_one_person_do_not_match_each_other(matcher: NbisFingerMatcher, person) -> None:
    templates = list((await matcher.templates(fingers(person))).values())
    probe = {"Right Thumb": templates[0]}
    scores = await matcher.best_score(probe, [{"Right Thumb": other} for other in templates[1:]])
    assert max(scores) < MATCH_THRESHOLD


async def test_large_galleries_keep_their_order(matcher: NbisFingerMatcher, person, person_again) -> None:
    (mine,) = (await matcher.templates(fingers(person_again)[:1])).values()
    (same,) = (await matcher.templates(fingers(person)[:1])).values()
    gallery = [{} for _ in range(70)]
    gallery[66] = {"Right Thumb": same}
    scores = await matcher.best_score({"Right Thumb": mine}, gallery)
    assert [at for at, score in enumerate(scores) if score >= MATCH_THRESHOLD] == [66]
    assert list(await matcher.best_score({"Right Thumb": mine}, [])) == []


def test_standard_form_keeps_the_native_score(person, person_again) -> None:
    engine = nbis.new_nbis_extractor(
        nbis.NbisExtractorSettings(
            min_quality=0.0, get_center=False, check_fingerprint=False, compute_nfiq2=False, ppi=500.0
        )
    )
    native = [engine.extract_minutiae(images.png(images.pixels(record))) for record in (person[0], person_again[0])]
    standard = [extraction.template(record) for record in (person[0], person_again[0])]
    assert minutiae.to_nbis(standard[0]) == native[0].to_iso_19794_2_2005()
    expected = native[0].compare(native[1]) - extraction.SINGLE_FINGER_MARGIN
    assert extraction.best_scores({"x": standard[0]}, [{"x": standard[1]}]) == [expected]


@pytest.mark.parametrize(
    ("scores", "same"),
    [
        ([], False),
        ([59], False),
        ([60], True),
        ([43, 20, 12], False),
        ([40, 40], True),
        ([59, 39, 39], False),
        ([200, 0, 0], True),
    ],
)
def test_two_fingers_or_one_strong_one_make_a_person(scores: list[int], same: bool) -> None:
    assert (extraction.fuse(scores) >= MATCH_THRESHOLD) is same


async def test_synthetic_captures_are_good_enough(matcher: NbisFingerMatcher, person) -> None:
    templates = await matcher.templates(fingers(person))
    assert min(template[27] for template in templates.values()) >= 25
    qualities = await matcher.qualities(person)
    assert [quality.score for quality in qualities] == [record.quality for record in person]
    assert all(quality.reason is None for quality in qualities)
    assert min(quality.score for quality in qualities[:10]) >= 30
    assert min(quality.score for quality in qualities[10:12]) >= 50


@pytest.mark.parametrize("modality", [Modality.FACE, Modality.EXCEPTION_PHOTO, Modality.IRIS])
async def test_only_fingers_are_matched(matcher: NbisFingerMatcher, person, modality) -> None:
    one = next(record for record in person if record.modality is modality)
    with pytest.raises(InvalidBiometrics, match="only fingers"):
        await matcher.templates([one])
    with pytest.raises(InvalidBiometrics, match="only fingers"):
        extraction.template(one)


async def test_malformed_input_is_refused_and_the_worker_lives(person) -> None:
    pool = WorkerPool(1)
    matcher = NbisFingerMatcher(pool)
    try:
        await matcher.templates(fingers(person)[:1])
        before = pool.process_ids
        torn = replace(person[0], bdb=person[0].bdb[:-9])
        with pytest.raises(InvalidBiometrics, match="length"):
            await matcher.templates([torn, person[1]])
        with pytest.raises(InvalidBiometrics, match="2005"):
            await matcher.best_score({"Left Thumb": b"FMR\0 30\0"}, [{}])
        with pytest.raises(InvalidBiometrics, match="twice"):
            await matcher.templates([person[0], person[0]])
        assert pool.process_ids == before
    finally:
        await matcher.close()


async def test_exceptions_have_no_template_and_no_quality(matcher: NbisFingerMatcher) -> None:
    missing = BiometricRecord(Modality.FINGER, "Left Thumb", b"", exception=True)
    assert await matcher.templates([missing]) == {}
    with pytest.raises(InvalidBiometrics, match="exception"):
        await matcher.qualities([missing])


async def test_nothing_runs_before_the_first_call_nor_after_close(person) -> None:
    pool = WorkerPool(2)
    matcher = NbisFingerMatcher(pool)
    assert pool.process_ids == []
    await matcher.templates(fingers(person)[:2])
    ids = pool.process_ids
    assert 1 <= len(ids) <= 2
    await matcher.close()
    assert pool.process_ids == []
    for pid in ids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(Unavailable):
        await matcher.templates(fingers(person)[:1])


async def test_a_killed_worker_is_replaced(person) -> None:
    pool = WorkerPool(1)
    matcher = NbisFingerMatcher(pool)
    try:
        first = await matcher.templates(fingers(person)[:1])
        (victim,) = pool.process_ids
        os.kill(victim, signal.SIGKILL)
        assert await matcher.templates(fingers(person)[:1]) == first
        (successor,) = pool.process_ids
        assert successor != victim
    finally:
        await matcher.close()


async def test_a_hanging_worker_is_killed_and_replaced(person) -> None:
    pool = WorkerPool(1, patience=2.0)
    matcher = NbisFingerMatcher(pool)
    try:
        await matcher.templates(fingers(person)[:1])
        (victim,) = pool.process_ids
        os.kill(victim, signal.SIGSTOP)
        with pytest.raises(Unavailable, match="in time"):
            await matcher.templates(fingers(person)[:1])
        with pytest.raises(ProcessLookupError):
            os.kill(victim, 0)
        assert len(await matcher.templates(fingers(person)[:1])) == 1
    finally:
        await matcher.close()


async def test_a_cancelled_call_does_not_answer_the_next_one(person) -> None:
    pool = WorkerPool(1)
    try:
        await pool.ask(Extract(person[0]), Extracted)
        call = asyncio.create_task(pool.ask(Extract(person[0]), Extracted))
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        answer = await pool.ask(Extract(person[1]), Extracted)
        assert answer.template == extraction.template(person[1])
    finally:
        await pool.close()


async def test_workers_are_recycled(person) -> None:
    pool = WorkerPool(1, requests_per_worker=1)
    try:
        await pool.ask(Extract(person[0]), Extracted)
        assert pool.process_ids == []
        await pool.ask(Extract(person[0]), Extracted)
    finally:
        await pool.close()


def limits_of(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return {line[:26].strip(): line[26:].split()[:2] for line in lines}


async def test_workers_are_confined(person) -> None:
    pool = WorkerPool(1)
    try:
        await pool.ask(Extract(person[0]), Extracted)
        (pid,) = pool.process_ids
        limits = limits_of(pid)
        assert limits["Max file size"] == ["0", "0"]
        assert limits["Max core file size"] == ["0", "0"]
        assert limits["Max address space"] == [str(1 << 30)] * 2
    finally:
        await pool.close()


def test_the_matcher_is_what_the_contract_asks() -> None:
    matcher: FingerMatcher = build(1)
    judge: QualityJudge = build(1)
    assert matcher is not judge
