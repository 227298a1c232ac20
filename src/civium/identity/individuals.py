"""Finding a person by whatever identifier a caller has (section 1.4)."""

from typing import TypeVar

from civium.identity.domain import invalid, missing, not_found
from civium.identity.records import Records
from civium.identity.store import PersonRow
from civium.identity.vid.service import VidService
from civium.kernel.identifiers import RID, UIN, VID, InvalidIdentifier

T = TypeVar("T", UIN, VID)


class IndividualIds:
    """Finds the person behind whatever identifier a caller has (section 1.4)."""

    def __init__(self, records: Records, vids: VidService) -> None:
        self._records = records
        self._vids = vids

    async def person(self, text: str | None, kind: str | None) -> PersonRow:
        """Return the verified row. Without ``kind``: a valid UIN, else a valid VID, else a registration id.

        Raises Rejected IDR-IDC-001, -002 (``individualId``, ``idType``), -007, IDR-VID-001.
        """
        if not text:
            raise missing("individualId")
        if not text.isprintable():
            raise invalid("individualId")
        match kind or kind_of(text):
            case "UIN":
                return await self._records.by_uin(_parse(UIN, text))
            case "VID":
                return await self._vids.resolve(_parse(VID, text))
            case "ID":
                return await self._records.by_rid(RID(text))
            case "HANDLE":
                raise not_found()
            case _:
                raise invalid("idType")


def kind_of(text: str) -> str:
    """Return what an identifier is by its form: a valid UIN, else a valid VID, else a registration id."""
    for name, kind in (("UIN", UIN), ("VID", VID)):
        try:
            kind.parse(text)
        except InvalidIdentifier:
            continue
        return name
    return "ID"


def _parse(kind: type[T], text: str) -> T:
    try:
        return kind.parse(text)
    except InvalidIdentifier:
        raise invalid("individualId") from None
