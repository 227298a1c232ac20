"""Templates: filled once, strictly, and never able to change a header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from civium.notify.api import CannotRender
from civium.notify.domain import is_mail_address, is_phone_number, render, single_line, template_codes


def test_values_are_filled_in_and_the_language_goes_first():
    values = {"name": "Amina", "name_ara": "أمينة", "RID": "1"}
    assert render("Dear $name: $RID.", values, "eng") == "Dear Amina: 1."
    assert render("$name", values, "ara") == "أمينة"


def test_a_missing_value_is_named_and_no_other_is_shown():
    with pytest.raises(CannotRender, match=r"no value for \$otp$") as caught:
        render("$name $otp", {"name": "Amina"}, "eng")
    assert "Amina" not in repr(caught.value)


@given(st.text(), st.text())
def test_a_value_is_never_read_as_a_template(value, other):
    assert render("$a|$b", {"a": value, "b": other}, "eng") == f"{value}|{other}"
    assert render("$a", {"a": "$b", "b": "secret"}, "eng") == "$b"


@given(st.text())
def test_a_subject_stays_one_line(text):
    line = single_line(text)
    assert not any(character in line for character in "\r\n\x00\u2028\u2029")


@pytest.mark.parametrize("address", ["a@example.com", "a.b-c_d+e@sub.example.org"])
def test_mail_addresses(address):
    assert is_mail_address(address)


@pytest.mark.parametrize(
    "address",
    ["", "a", "@b.c", "a@", "a@b@c.d", "a@b.c\r\nBcc: x@y.z", "a@b.c\n", "x, y@b.c", "A <a@b.c>", "a b@c.d", "a@b.c;d"],
)
def test_what_is_no_mail_address(address):
    assert not is_mail_address(address)


def test_phone_numbers():
    assert is_phone_number("9876543210")
    assert is_phone_number("+9876543210")
    for wrong in ("", "98 76", "٩٨٧٦٥٤٣٢١٠", "1" * 16, "98765\n", "tel:98765"):
        assert not is_phone_number(wrong)


def test_the_three_naming_styles():
    assert template_codes("RPR_UIN_GEN").sms == "RPR_UIN_GEN_SMS"
    assert template_codes("RPR_UIN_GEN").subject == "RPR_UIN_GEN_EMAIL_SUB"
    assert template_codes("ida-auth-otp").content == "ida-auth-otp-email-content-template"
    assert template_codes("auth").subject == "auth-email-subject"
