"""The main job through HTTP, with the unmodified public client: the demo's steps, checked one by one."""

import base64
import re
import time

from civium.apps.sandbox.registration import issue_vid


def fresh_otp(platform, public_client, identifier, address, transaction, *, phone=False):
    with platform.client() as client:
        before = len(client.messages(address))
        limit = time.monotonic() + 10
        while True:
            answer = public_client.call("genotp", identifier, transaction, email=not phone, phone=phone)
            if not answer["errors"]:
                break
            assert answer["errors"][-1]["errorCode"] == "IDA-MLC-018", answer
            assert time.monotonic() < limit
        while time.monotonic() < limit:
            for message in client.messages(address)[: len(client.messages(address)) - before]:
                if found := re.search(r"(?<!\d)\d{6}(?!\d)", message["body"]):
                    return answer, found[0]
            time.sleep(0.05)
    raise AssertionError("no OTP arrived")


def test_the_person_is_told_their_registration_number_and_never_the_uin(platform, person):
    with platform.client() as client:
        for address in (person.applicant.email, person.applicant.phone):
            messages = client.messages(address)
            assert any(person.rid.reveal() in message["body"] for message in messages)
            assert not any(person.uin.reveal() in message["body"] for message in messages)


def test_otp_authentication_and_kyc_with_the_public_client(platform, person, public_client, relying_party):
    answer, otp = fresh_otp(platform, public_client, person.vid, person.applicant.email, "2000000001")
    assert answer["response"]["maskedEmail"] != person.applicant.email
    assert answer["response"]["maskedMobile"] is None
    said = public_client.call("auth", person.vid, "2000000001", otp_value=otp, consent=True)
    assert said["errors"] is None
    assert said["response"]["authStatus"] is True
    token = said["response"]["authToken"]
    assert re.fullmatch(r"\d{36}", token)

    _, otp = fresh_otp(platform, public_client, person.vid, person.applicant.email, "2000000002")
    said = public_client.call("kyc", person.vid, "2000000002", otp_value=otp, consent=True)
    assert said["response"]["kycStatus"] is True
    assert said["response"]["authToken"] == token
    opened = said["opened"]
    assert opened["name_eng"] == person.applicant.names["eng"]
    assert opened["name_ara"] == person.applicant.names["ara"]
    assert opened["dob"] == person.applicant.date_of_birth
    assert base64.b64decode(opened["photo"])[:3] == b"FAC"
    assert set(opened) == {"name_eng", "name_ara", "gender_eng", "gender_ara", "dob", "photo"}


def test_demographic_authentication_by_uin_and_by_vid_gives_one_token(person, public_client):
    name = [{"language": "eng", "value": person.applicant.names["eng"]}]
    tokens = set()
    for identifier, transaction in ((person.uin, "2000000003"), (person.vid, "2000000004")):
        said = public_client.call("auth", identifier, transaction, demographics={"name": name}, consent=True)
        assert said["response"]["authStatus"] is True, said
        tokens.add(said["response"]["authToken"])
    assert len(tokens) == 1
    name[0]["value"] = "Somebody Else Entirely"
    said = public_client.call("auth", person.uin, "2000000005", demographics={"name": name}, consent=True)
    assert said["response"] == {"authStatus": False, "authToken": None}
    assert said["errors"][0]["errorCode"] == "IDA-DEA-001"


def test_a_one_time_password_counts_once(platform, person, public_client):
    _, otp = fresh_otp(platform, public_client, person.vid, person.applicant.email, "2000000006")
    assert public_client.call("auth", person.vid, "2000000006", otp_value=otp, consent=True)["response"]["authStatus"]
    said = public_client.call("auth", person.vid, "2000000006", otp_value=otp, consent=True)
    assert said["response"]["authStatus"] is False
    assert said["errors"][0]["errorCode"] == "IDA-OTA-012"


def test_a_temporary_vid_is_used_up(platform, person, public_client):
    with platform.client() as client:
        vid = issue_vid(client, person.uin, "Temporary")
    name = [{"language": "eng", "value": person.applicant.names["eng"]}]
    limit = time.monotonic() + 10
    codes = []
    for number in range(100):
        said = public_client.call("auth", vid, f"21{number:08d}", demographics={"name": name}, consent=True)
        if said["response"]["authStatus"]:
            codes.append("yes")
        elif codes or time.monotonic() > limit:
            codes.append(said["errors"][-1]["errorCode"])
            break
    assert codes == ["yes", "yes", "IDA-MLC-018"]
