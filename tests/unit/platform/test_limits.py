"""What a request's JSON may be before anyone reads it."""

import pytest

from civium.platform.http.limits import JsonTooDeep, NotText, check_depth, check_text

FACE = '{"a": "\\ud83d\\ude00"}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'"plain"',
        FACE.encode(),
        b'"\\\\ud800"',
        '"\U0001f600"'.encode(),
        b'{"a": "\\ud800',
        b"\\ud800",
        b'"\\u0000"',
    ],
)
def test_text(body):
    check_text(body)


@pytest.mark.parametrize(
    "body", [b'"\\ud800"', b'{"a": ["\\uDFFF"]}', b'{"\\udc00": 1}', b'"\\ude00\\ud83d"', FACE[:-8].encode() + b'"}']
)
def test_half_a_character(body):
    with pytest.raises(NotText):
        check_text(body)


def test_depth():
    check_depth(b"[" * 3 + b"]" * 3, 3)
    check_depth(b'["[[[[", "\\"[[["]', 1)
    with pytest.raises(JsonTooDeep):
        check_depth(b'[{"a": [1]}]', 2)
