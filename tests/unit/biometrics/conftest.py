from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from civium.biometrics.api import BiometricRecord
from civium.biometrics.matching import NbisFingerMatcher
from civium.biometrics.synthesis import second_impression, synthetic_biometrics
from civium.biometrics.wiring import build

SOME_FINGERS = ("Right Thumb", "Right IndexFinger", "Left MiddleFinger")


@pytest.fixture(scope="session")
def person() -> list[BiometricRecord]:
    return synthetic_biometrics(1)


@pytest.fixture(scope="session")
def person_again() -> list[BiometricRecord]:
    return second_impression(1, 1, SOME_FINGERS)


@pytest.fixture(scope="session")
def stranger() -> list[BiometricRecord]:
    return second_impression(2, 0, SOME_FINGERS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def matcher() -> AsyncIterator[NbisFingerMatcher]:
    matcher = build(2)
    yield matcher
    await matcher.close()
