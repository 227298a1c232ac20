"""The external status words, as section 4.7 maps them."""

from datetime import UTC, datetime, timedelta

import pytest

from civium.registration.domain import Progress, Status, TransactionType, retry_delay

NOW = datetime(2025, 2, 3, 9, 15, tzinfo=UTC)
T = TransactionType


def progress(status: Status, latest: TransactionType, *, stage: str | None = None, minutes: int = 0, retries: int = 0):
    return Progress(status, latest, NOW - timedelta(minutes=minutes), stage, retries)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (progress(Status.PROCESSED, T.FINALIZATION), "UIN_GENERATED"),
        (progress(Status.PROCESSING, T.PACKET_RECEIVER, stage="PacketReceiverStage"), "PROCESSING"),
        (progress(Status.PROCESSING, T.PACKET_RECEIVER, minutes=15), "PROCESSING"),
        (progress(Status.PROCESSING, T.PACKET_RECEIVER, minutes=16), "RESEND"),
        (progress(Status.PROCESSING, T.PACKET_RECEIVER, minutes=16, retries=10), "REREGISTER"),
        (progress(Status.PROCESSING, T.QUALITY_CLASSIFIER, stage="QualityClassifierStage", minutes=99), "PROCESSED"),
        (progress(Status.PAUSED, T.MANUAL_ADJUDICATION, stage="DemoDedupeStage"), "PROCESSED"),
        (progress(Status.REPROCESS, T.UPLOAD_PACKET, stage="SecurezoneNotificationStage"), "PROCESSING"),
        (progress(Status.FAILED, T.UPLOAD_PACKET), "RESEND"),
        (progress(Status.FAILED, T.UPLOAD_PACKET, retries=10), "REREGISTER"),
        (progress(Status.FAILED, T.VALIDATE_PACKET), "REREGISTER"),
        (progress(Status.REJECTED, T.VALIDATE_PACKET), "REJECTED"),
        (progress(Status.REPROCESS_FAILED, T.PACKET_REPROCESS), "REJECTED"),
    ],
)
def test_external(state, expected):
    assert state.external(NOW) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (progress(Status.PROCESSING, T.PACKET_RECEIVER), "RECEIVED"),
        (progress(Status.PROCESSING, T.PACKET_RECEIVER, minutes=16), "RESEND"),
        (progress(Status.PROCESSING, T.PACKET_RECEIVER, minutes=16, retries=10), "REJECTED"),
        (progress(Status.REPROCESS, T.UPLOAD_PACKET), "RECEIVED"),
        (progress(Status.FAILED, T.UPLOAD_PACKET), "RESEND"),
        (progress(Status.FAILED, T.UPLOAD_PACKET, retries=10), "REJECTED"),
        (progress(Status.FAILED, T.VALIDATE_PACKET), "ACCEPTED"),
        (progress(Status.PROCESSED, T.FINALIZATION), "ACCEPTED"),
        (progress(Status.REJECTED, T.UPLOAD_PACKET), "ACCEPTED"),
        (progress(Status.REJECTED, T.PACKET_RECEIVER), "RECEIVED"),
    ],
)
def test_packet_external(state, expected):
    assert state.packet_external(NOW) == expected


def test_retries_slow_down_to_a_limit():
    assert retry_delay(1) == timedelta(seconds=2)
    assert retry_delay(2) == timedelta(seconds=4)
    assert retry_delay(19) == timedelta(minutes=15)


def test_every_step_has_a_stage():
    assert len({step.stage for step in TransactionType}) == len(TransactionType)
