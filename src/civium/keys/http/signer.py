"""Signing with the keys of modules: web signatures in all their forms, raw ones, and those of documents (section 6)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from civium.kernel.encoding import b64u
from civium.keys.api import (
    KERNEL_SIGN,
    Certificate,
    KeyAdministration,
    KeyProblem,
    KeyRef,
    SignatureAlgorithm,
    SignedForm,
    jws,
    thumbprint,
)
from civium.keys.http.life_cycle import chain_of

_RESERVED: Final = frozenset({"alg", "b64", "crit", "enc", "jku", "jwk", "x5c", "x5t", "x5t#S256", "x5u", "zip"})
MAX_ADDITIONAL: Final = 32


@dataclass(frozen=True, slots=True)
class JwsOptions:
    """How a web signature is made."""

    include_payload: bool = False
    include_certificate: bool = False
    include_chain: bool = False
    include_certificate_hash: bool = False
    certificate_url: str | None = None
    algorithm: SignatureAlgorithm = SignatureAlgorithm.RS256
    unencoded: bool = False
    with_key_id: bool = True
    additional: Mapping[str, Any] = field(default_factory=dict)
    """More members of the header; ``kid`` is a prefix of the key's own."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature and the generation that made it."""

    value: bytes
    signed: bytes = field(repr=False)
    certificate: Certificate


def signing_ref(application_id: str | None, reference_id: str | None) -> KeyRef:
    """Return the key that a request names: KERNEL:SIGN by default, else a module's master.

    Raises KeyProblem (KER-KMS-020) for a key that signs no data.
    """
    application = (application_id or "").strip()
    if not application:
        return KERNEL_SIGN
    ref = KeyRef(application, (reference_id or "").strip())
    if ref.reference_id and ref != KERNEL_SIGN:
        raise KeyProblem("KER-KMS-020", "Signing operation not allowed for the provided application id & reference id.")
    return ref


class Signer:
    """Makes signatures: one round trip to the key process each.

    The current generation is remembered; the key process refuses one that is not current any more, and then the new
    one is asked for.
    """

    def __init__(self, keys: KeyAdministration) -> None:
        self._keys = keys
        self._known: dict[KeyRef, Certificate] = {}

    async def jws(self, ref: KeyRef, payload: bytes, options: JwsOptions) -> str:
        """Return the compact JWS. Raises KeyProblem; KER-KMS-005 for additional members that are not the caller's."""
        prefix = _key_id_prefix(options.additional)
        additional = {name: value for name, value in options.additional.items() if name != "kid"}

        async def signing_input(current: Certificate) -> bytes:
            own = current.x509
            header = jws.header(
                key_id=prefix + current.key_id if options.with_key_id else None,
                certificate=own if options.include_certificate or options.include_chain else None,
                authorities=(await chain_of(self._keys, own, ref.application_id))[1:] if options.include_chain else (),
                hashed=own if options.include_certificate_hash else None,
                url=options.certificate_url,
                algorithm=options.algorithm,
                unencoded=options.unencoded,
                additional=additional,
            )
            return jws.signing_input(header, payload, unencoded=options.unencoded)

        made = await self._signed(ref, signing_input, SignedForm.JOSE, options.algorithm)
        head = made.signed.partition(b".")[0].decode()
        middle = b64u(payload) if options.include_payload else ""
        return f"{head}.{middle}.{b64u(made.value)}"

    async def raw(self, ref: KeyRef, data: bytes, algorithm: SignatureAlgorithm) -> Signature:
        """Return the signature over bytes; raises KeyProblem (KER-JWS-108) for bytes that mean something else."""

        async def itself(_: Certificate) -> bytes:
            return data

        return await self._signed(ref, itself, SignedForm.RAW, algorithm)

    async def attributes(self, ref: KeyRef, certificate: Certificate, data: bytes) -> bytes:
        """Return the RS256 signature of this generation over the signed attributes of a CMS signature."""
        return await self._sign(ref, certificate, data, SignedForm.CMS, SignatureAlgorithm.RS256)

    async def _signed(
        self,
        ref: KeyRef,
        data_of: Callable[[Certificate], Awaitable[bytes]],
        form: SignedForm,
        algorithm: SignatureAlgorithm,
    ) -> Signature:
        """Sign what names the current generation, again when another took over in between."""
        current = self._known.get(ref) or await self._fresh(ref)
        while True:
            data = await data_of(current)
            try:
                return Signature(await self._sign(ref, current, data, form, algorithm), data, current)
            except KeyProblem:
                newer = await self._fresh(ref)
                if newer == current:
                    raise
                current = newer

    async def _fresh(self, ref: KeyRef) -> Certificate:
        found = self._known[ref] = await self._keys.certificate(ref)
        return found

    async def _sign(
        self, ref: KeyRef, current: Certificate, data: bytes, form: SignedForm, algorithm: SignatureAlgorithm
    ) -> bytes:
        return await self._keys.sign_data(
            ref, data, form=form, algorithm=algorithm, thumbprint=thumbprint(current.x509)
        )


def _key_id_prefix(additional: Mapping[str, Any]) -> str:
    prefix = additional.get("kid", "")
    if not isinstance(prefix, str) or len(additional) > MAX_ADDITIONAL or not additional.keys().isdisjoint(_RESERVED):
        raise KeyProblem("KER-KMS-005", "Invalid request")
    return prefix
