"""Finger matching by NIST's MINDTCT and Bozorth3, quality by NFIQ 2, in worker processes."""

from collections.abc import Sequence
from typing import Final

from civium.biometrics.domain import BiometricRecord, InvalidBiometrics, Modality, Quality
from civium.biometrics.worker import Compare, Compared, Extract, Extracted, Measure, Measured
from civium.biometrics.workers import WorkerPool

_PEOPLE_PER_REQUEST: Final = 16


class NbisFingerMatcher:
    """Implements :class:`civium.biometrics.api.FingerMatcher` and :class:`~civium.biometrics.api.QualityJudge`.

    Nothing is started before the first call.
    """

    def __init__(self, workers: WorkerPool) -> None:
        self._workers = workers

    async def templates(self, records: Sequence[BiometricRecord]) -> dict[str, bytes]:
        """Return an ISO/IEC 19794-2:2005 template per finger subtype; an exception has none.

        Raises InvalidBiometrics for a face or any other modality, a subtype named twice, or an image that cannot be
        read. Cost: about 60 ms of one core per finger.
        """
        if any(record.modality is not Modality.FINGER for record in records):
            raise InvalidBiometrics("only fingers are matched")
        if len({record.subtype for record in records}) < len(records):
            raise InvalidBiometrics("a finger occurs twice")
        captured = [record for record in records if not record.exception]
        replies = await self._workers.ask_all([Extract(record) for record in captured], Extracted)
        return {record.subtype: reply.template for record, reply in zip(captured, replies, strict=True)}

    async def best_score(self, probe: dict[str, bytes], gallery: Sequence[dict[str, bytes]]) -> Sequence[int]:
        """Return for each gallery person the best Bozorth3 score over the same subtypes.

        Raises InvalidBiometrics for a template that is not in the standard form. Cost: about 2 ms of one core per
        pair of fingers.
        """
        chunks = [gallery[at : at + _PEOPLE_PER_REQUEST] for at in range(0, len(gallery), _PEOPLE_PER_REQUEST)]
        replies = await self._workers.ask_all([Compare(probe, list(chunk)) for chunk in chunks], Compared)
        return [score for reply in replies for score in reply.scores]

    async def qualities(self, records: Sequence[BiometricRecord]) -> Sequence[Quality]:
        """Return the quality of each record. Cost: about 0.1 s of one core per finger."""
        replies = await self._workers.ask_all([Measure(record) for record in records], Measured)
        return [reply.quality for reply in replies]

    async def close(self) -> None:
        """Stop the worker processes."""
        await self._workers.close()
