import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from civium.kernel.errors import IntegrityError
from civium.keys import sealing
from civium.keys.sealing import KeySealer
from civium.keys.usage import REPORT_SECONDS
from civium.platform.sealing import Place
from civium.platform.telemetry import correlation

PURPOSE = "identity/demographics"
PLACE = Place("identity.person", "018f", "record", 3)


async def test_a_box_opens_where_it_was_sealed(bound):
    sealer = KeySealer(bound.core)
    for clear in (b"", b"x", b"x" * 1_000_000):
        box = await sealer.seal(PURPOSE, PLACE, clear)
        assert len(box) == len(clear) + 92
        assert await sealer.unseal(PURPOSE, PLACE, box) == clear
        assert await KeySealer(bound.core).unseal(PURPOSE, PLACE, box) == clear


@pytest.mark.tamper
@pytest.mark.parametrize(
    ("purpose", "place"),
    [
        ("identity/biometrics", PLACE),
        (PURPOSE, Place("identity.history", "018f", "record", 3)),
        (PURPOSE, Place("identity.person", "018e", "record", 3)),
        (PURPOSE, Place("identity.person", "018f", "other", 3)),
        (PURPOSE, Place("identity.person", "018f", "record", 2)),
        (PURPOSE + "[", PLACE),
    ],
)
async def test_a_moved_box_does_not_open(bound, purpose, place):
    sealer = KeySealer(bound.core)
    box = await sealer.seal(PURPOSE, PLACE, b"clear")
    for opener in (sealer, KeySealer(bound.core)):
        with pytest.raises(IntegrityError):
            await opener.unseal(purpose, place, box)


@pytest.mark.tamper
async def test_no_bit_can_change(bound):
    sealer = KeySealer(bound.core)
    box = await sealer.seal(PURPOSE, PLACE, b"clear")
    for at in range(len(box)):
        for bit in (1, 128):
            with pytest.raises(IntegrityError):
                await sealer.unseal(PURPOSE, PLACE, box[:at] + bytes([box[at] ^ bit]) + box[at + 1 :])


@pytest.mark.tamper
async def test_no_byte_can_be_cut_off_or_added(bound):
    sealer = KeySealer(bound.core)
    box = await sealer.seal(PURPOSE, PLACE, b"clear")
    for size in range(len(box)):
        with pytest.raises(IntegrityError):
            await sealer.unseal(PURPOSE, PLACE, box[:size])
    with pytest.raises(IntegrityError):
        await sealer.unseal(PURPOSE, PLACE, box + b"\0")


async def test_the_other_context_cannot_open_a_box(bound):
    box = await KeySealer(bound.core).seal(PURPOSE, PLACE, b"clear")
    with pytest.raises(IntegrityError):
        await KeySealer(bound.auth).unseal(PURPOSE, PLACE, box)


async def test_many_boxes_cost_one_data_key(bound):
    sealer = KeySealer(bound.core)
    await bound.core.usage()
    boxes = [await sealer.seal(PURPOSE, PLACE, b"clear") for _ in range(50)]
    for box in boxes:
        await sealer.unseal(PURPOSE, PLACE, box)
    assert [(use.operation, use.count) for use in await bound.core.usage() if use.operation != "Unseal"] == [
        ("MakeDataKey", 1)
    ]
    reader = KeySealer(bound.core)
    for box in boxes:
        await reader.unseal(PURPOSE, PLACE, box)
    assert [(use.operation, use.count) for use in await bound.core.usage() if use.operation != "Unseal"] == [
        ("UnwrapDataKey", 1)
    ]
    assert len({box[-40:] for box in boxes}) == 50


async def test_data_keys_are_renewed_by_count_and_by_age(bound, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(sealing, "monotonic", lambda: now[0])
    sealer = KeySealer(bound.core)

    async def data_key() -> bytes:
        return (await sealer.seal(PURPOSE, PLACE, b""))[:64]

    first = await data_key()
    assert await data_key() == first
    now[0] = sealing.KEY_SECONDS + 1
    second = await data_key()
    assert second != first
    sealer._sealing[PURPOSE].left = 0
    assert await data_key() not in (first, second)


async def test_the_cache_of_keys_is_bounded(bound, monkeypatch):
    monkeypatch.setattr(sealing, "CACHED_KEYS", 4)
    sealer = KeySealer(bound.core)
    boxes = {f"p{number}": await sealer.seal(f"p{number}", PLACE, b"x") for number in range(10)}
    assert len(sealer._opening) == 4
    for purpose, box in boxes.items():
        assert await sealer.unseal(purpose, PLACE, box) == b"x"


async def test_a_sealer_shows_no_key(bound):
    sealer = KeySealer(bound.core)
    await sealer.seal(PURPOSE, PLACE, b"clear")
    assert "cipher" not in repr(sealer._sealing[PURPOSE])
    assert await sealer.keyed_hash("uin", b"1") == await bound.core.keyed_hash("uin", b"1")


@given(
    one=st.tuples(st.text(), st.text(), st.text(), st.integers(0, 9)),
    other=st.tuples(st.text(), st.text(), st.text(), st.integers(0, 9)),
    purposes=st.tuples(st.text(), st.text()),
)
def test_what_is_bound_to_a_box_is_unambiguous(one, other, purposes):
    same = (purposes[0], one) == (purposes[1], other)
    bound_to = [
        sealing._aad(purpose, Place(*place), b"h") for purpose, place in zip(purposes, (one, other), strict=True)
    ]
    assert (bound_to[0] == bound_to[1]) == same


async def test_opened_boxes_are_counted_within_a_second_though_no_key_is_asked_for(bound):
    sealer = KeySealer(bound.core)
    box = await sealer.seal(PURPOSE, PLACE, b"clear")
    await sealer.unseal(PURPOSE, PLACE, box)
    await asyncio.sleep(REPORT_SECONDS + 0.3)
    await bound.core.usage()
    token = correlation.set("t-9")
    for _ in range(5):
        await sealer.unseal(PURPOSE, PLACE, box)
    correlation.reset(token)
    await sealer.unseal(PURPOSE, PLACE, box)
    with pytest.raises(IntegrityError):
        await sealer.unseal(PURPOSE + "/other", PLACE, box)
    await asyncio.sleep(REPORT_SECONDS + 0.3)
    uses = [use for use in await bound.core.usage() if use.operation == "Unseal"]
    assert [(use.application, use.purpose, use.count, use.uncited, use.transactions) for use in uses] == [
        ("DATA", PURPOSE, 6, 1, 1)
    ]
