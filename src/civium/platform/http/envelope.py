"""The wire's JSON envelope (id-repository-and-commons section 0.1)."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from civium.kernel.errors import Rejected

T = TypeVar("T")


def _flag(value: object) -> object:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


Flag = Annotated[bool, BeforeValidator(_flag)]
"""A boolean that clients of the reference may also write as text."""
Count = Annotated[int, BeforeValidator(_number)]
"""A whole number that clients of the reference may also write as text."""


class WireModel(BaseModel):
    """Base of request and response bodies: strict types, unknown members ignored, nothing shown in errors.

    Attributes are snake_case in Python; give each its wire name with ``Field(alias=...)``.
    """

    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True
    )


class RequestEnvelope(WireModel, Generic[T]):
    """``{"id", "version", "requesttime", "metadata", "request"}``; only ``request`` is mandatory here."""

    id: str | None = None
    version: str | None = None
    requesttime: str | None = None
    metadata: dict[str, Any] | None = None
    request: T


def error_items(rejections: Sequence[Rejected]) -> list[dict[str, str]]:
    """Return the members of ``errors``."""
    return [{"errorCode": rejection.code, "message": rejection.message} for rejection in rejections]
