"""What production refuses, and that no wrong name of a setting passes."""

import pytest
from pydantic import ValidationError

from civium.platform.settings import Settings, UnknownSettingError, load

TLS = {"tls_certificate": "server.pem", "tls_key": "server.key"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fault": "identity.create.committed"}, "CIVIUM_FAULT"),
        ({"http": {"host": "0.0.0.0"}}, "http.tls_certificate"),
        ({"database": {"durable": False}}, "database.durable"),
        ({"authentication": {"otp_requests_per_minute": 6}}, "otp_requests_per_minute"),
        ({"authentication": {"otp_attempts": 6}}, "otp_attempts"),
        ({"authentication": {"otp_freeze_minutes": 0}}, "otp_freeze_minutes"),
    ],
)
def test_what_only_a_sandbox_may_do(changes, named):
    with pytest.raises(ValidationError, match=named):
        Settings(mode="production", **changes)
    assert Settings(mode="sandbox", **changes).sandbox


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"http": {"host": "0.0.0.0", **TLS}},
        {"authentication": {"otp_requests_per_minute": 1, "otp_attempts": 3, "otp_freeze_minutes": 60}},
    ],
)
def test_what_production_allows(changes):
    assert not Settings(mode="production", **changes).sandbox


def test_a_name_that_does_not_exist_is_refused_wherever_it_stands(tmp_path, monkeypatch):
    (tmp_path / "civium.toml").write_text('languages = ["fra"]\n')
    assert load(home=tmp_path).languages == ("fra",)
    (tmp_path / "civium.toml").write_text("[http]\nprot = 80\n")
    with pytest.raises(ValidationError, match="prot"):
        load(home=tmp_path)
    (tmp_path / "civium.toml").unlink()
    monkeypatch.setenv("CIVIUM_HTTP__PROT", "80")
    with pytest.raises(UnknownSettingError, match="CIVIUM_HTTP__PROT"):
        load(home=tmp_path)


def test_the_passphrase_is_not_shown():
    assert "open sesame" not in repr(Settings(keys={"passphrase": "open sesame"}))
