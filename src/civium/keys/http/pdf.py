"""Visible signatures of PDF documents, and their encryption (section 6.7)."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from asn1crypto import algos
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.x509.oid import NameOID
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import copy_into_new_writer
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter
from pyhanko.sign.general import SigningError
from pyhanko.sign.signers import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.signers.pdf_cms import Signer
from pyhanko_certvalidator.registry import SimpleCertificateStore

from civium.kernel.errors import CiviumError
from civium.keys.api import KeyProblem
from civium.keys.formats.certificates import der

SIGNATURE_BYTES: Final = 256
MAX_PAGES: Final = 10_000
FIELD: Final = "Signature"

SignAttributes = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Appearance:
    """Where a signature shows (left, bottom, right, top), on which page (from 1), and why it was made."""

    box: tuple[int, int, int, int]
    page: int
    reason: str


async def sign(
    document: bytes,
    certificate: x509.Certificate,
    authorities: Sequence[x509.Certificate],
    appearance: Appearance,
    sign_attributes: SignAttributes,
    *,
    password: str | None = None,
) -> bytes:
    """Return the signed document. ``sign_attributes`` makes the RS256 signature.

    With a password the document is encrypted with AES-256; its owner's password is random and nobody's (section 13
    no. 13). Parsing runs in a thread. Raises KeyProblem (KER-JWS-102) for what is no PDF or has no such page.
    """
    loop = asyncio.get_running_loop()
    signer = _Signer(certificate, authorities, sign_attributes, loop)
    return await asyncio.to_thread(_signed, document, certificate, appearance, signer, password)


class _Signer(Signer):
    """Asks the event loop for signatures, from the thread in which the document is worked on."""

    def __init__(
        self,
        certificate: x509.Certificate,
        authorities: Sequence[x509.Certificate],
        sign_attributes: SignAttributes,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        store = SimpleCertificateStore()  # type: ignore[no-untyped-call]
        store.register_multiple([_asn1(each) for each in authorities])
        super().__init__(
            signing_cert=_asn1(certificate),
            cert_registry=store,
            signature_mechanism=algos.SignedDigestAlgorithm({"algorithm": "sha256_rsa"}),
        )
        self._sign_attributes = sign_attributes
        self._loop = loop

    async def async_sign_raw(self, data: bytes, digest_algorithm: str, dry_run: bool = False) -> bytes:
        if dry_run:
            return bytes(SIGNATURE_BYTES)
        if digest_algorithm != "sha256":
            raise SigningError("only SHA-256 is used")
        asked = asyncio.run_coroutine_threadsafe(_awaited(self._sign_attributes, data), self._loop)
        return await asyncio.wrap_future(asked)


async def _awaited(sign_attributes: SignAttributes, data: bytes) -> bytes:
    return await sign_attributes(data)


def _asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
    loaded: asn1_x509.Certificate = asn1_x509.Certificate.load(der(certificate))
    return loaded


def _signed(
    document: bytes, certificate: x509.Certificate, appearance: Appearance, signer: Signer, password: str | None
) -> bytes:
    try:
        output = BytesIO(document if password is None else _encrypted(document, password))
        writer = IncrementalPdfFileWriter(output, strict=False)
        if password is not None:
            writer.encrypt(password)  # type: ignore[no-untyped-call]
        pages = int(writer.root["/Pages"]["/Count"])
        if not 1 <= appearance.page <= min(pages, MAX_PAGES):
            raise _refused()
        metadata = PdfSignatureMetadata(
            field_name=FIELD,
            md_algorithm="sha256",
            reason=appearance.reason,
            name=_common_name(certificate),
            subfilter=SigSeedSubFilter.ADOBE_PKCS7_DETACHED,
        )
        field = SigFieldSpec(FIELD, on_page=appearance.page - 1, box=appearance.box)
        PdfSigner(metadata, signer, new_field_spec=field).sign_pdf(writer, in_place=True)
        return output.getvalue()
    except CiviumError:
        raise
    except (PdfError, SigningError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise _refused() from None


def _encrypted(document: bytes, password: str) -> bytes:
    writer = copy_into_new_writer(PdfFileReader(BytesIO(document), strict=False))
    writer.encrypt(owner_pass=secrets.token_urlsafe(32), user_pass=password)  # type: ignore[no-untyped-call]
    output = BytesIO()
    writer.write(output)  # type: ignore[no-untyped-call]
    return output.getvalue()


def _common_name(certificate: x509.Certificate) -> str | None:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else None


def _refused() -> KeyProblem:
    return KeyProblem("KER-JWS-102", "Data to sign is not valid.")
