"""The partner stage: may this relying party ask this? (id-authentication sections 7.2 and 16.2). Pure.

Delegated calls, their OIDC clients and MISP policies (steps 14e, 15, 19) have no endpoint yet.
"""

from dataclasses import dataclass
from datetime import datetime

from civium.authentication import errors
from civium.authentication.api import Usage
from civium.authentication.filters import Opened, Path
from civium.authentication.policy import AuthPolicy, Factor
from civium.authentication.snapshot import Partner, Policy, Snapshot

FACTOR_NAMES = {Factor.DEMO: "DEMO", Factor.PIN: "SPIN", Factor.OTP: "OTP", Factor.BIO: "BIO"}
"""Factors in the order of the checks, by their names in IDA-MPA-006."""
OTP_REQUEST = "otp-request"
KYC = "kyc"


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Who asks, and under which policy: what replaces the client's ``metadata`` (step 20)."""

    partner: Partner
    policy: Policy


def admit(usage: Usage, opened: Opened, snapshot: Snapshot, at: datetime) -> RelyingParty:
    """Run steps 14 to 18; the first failure raises Rejected. In memory only: microseconds."""
    partner, policy = _mapped(opened.path, snapshot, at)
    _check_certificate(opened, partner, snapshot)
    _check_licence(opened.path, snapshot, at)
    _check_usage(usage, policy.rules)
    if usage is not Usage.OTP:
        _check_factors(opened.factors, policy.rules)
    return RelyingParty(partner, policy)


def _mapped(path: Path, snapshot: Snapshot, at: datetime) -> tuple[Partner, Policy]:
    api_key = snapshot.api_key(path.api_key)  # 14a
    if api_key is None or api_key.partner_id != path.partner_id:
        raise errors.PARTNER_UNKNOWN.of()
    partner = snapshot.partners.get(path.partner_id)  # 14b
    if partner is None:
        raise errors.PARTNER_UNKNOWN.of()
    if not partner.active:
        raise errors.PARTNER_INACTIVE.of()
    policy = snapshot.policies.get(api_key.policy_id)  # 14c
    if policy is None:
        raise errors.POLICY_UNKNOWN.of()
    if not (policy.active and policy.window.covers(at)):
        raise errors.POLICY_INACTIVE.of()
    if not api_key.active:  # 14d
        raise errors.PARTNER_INACTIVE.of()
    if not api_key.window.covers(at):
        raise errors.API_KEY_EXPIRED.of()
    return partner, policy


def _check_certificate(opened: Opened, partner: Partner, snapshot: Snapshot) -> None:
    if opened.signer in partner.fingerprints:  # 14f
        return
    licence = snapshot.licence(opened.path.licence_key)
    misp = snapshot.partners.get(licence.misp_id) if licence else None
    if misp is None or opened.signer not in misp.fingerprints:
        raise errors.CERTIFICATE_OTHER.of()


def _check_licence(path: Path, snapshot: Snapshot, at: datetime) -> None:
    licence = snapshot.licence(path.licence_key)  # 14g
    if licence is None or not licence.window.begun(at):
        raise errors.LICENCE_UNKNOWN.of()
    if not licence.active:
        raise errors.LICENCE_BLOCKED.of()
    if licence.window.over(at):
        raise errors.LICENCE_EXPIRED.of()


def _check_usage(usage: Usage, rules: AuthPolicy) -> None:
    if usage is Usage.OTP and OTP_REQUEST not in rules.allowed:  # 16
        raise errors.OTP_NOT_ALLOWED.of()
    if usage is Usage.KYC and KYC not in rules.allowed:
        raise errors.KYC_NOT_ALLOWED.of()


def _check_factors(present: frozenset[Factor], rules: AuthPolicy) -> None:
    for factor, name in FACTOR_NAMES.items():  # 17
        if factor in present and factor.value not in rules.allowed:
            raise errors.FACTOR_NOT_ALLOWED.of(name)
    for mandatory in rules.mandatory:  # 18
        if mandatory in set(Factor) and Factor(mandatory) not in present:
            raise errors.FACTOR_MANDATORY.of(mandatory)
