"""Text of others neither moves the cursor nor tells a password."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpscale.cli.common import say
from xpscale.errors import InvalidInputError, TryAgainError, UnexpectedError
from xpscale.safe_text import has_password, one_line, printable, shown
from xpscale.storage import Storage

SECRET = "qw3rty-s3cret"
ADDRESSES = (
    f"https://user:{SECRET}@host/a/b",
    f"https://{SECRET}@host/a",
    f"http://user:{SECRET}@host:8080/x?part=2",
    f"s3://key:{SECRET}@bucket/prefix",
    f"https://host/a?X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET}",
    f"https://host/a?X-Amz-Security-Token={SECRET}",
    f"https://account.blob.core.windows.net/c/a?sv=2024-11-04&sp=r&sig={SECRET}",
    f"https://host/a?access_token={SECRET}",
    f"https://host/a?AWSAccessKeyId={SECRET}&Signature={SECRET}",
)
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


@given(st.text())
def test_no_text_moves_the_cursor_or_turns_the_direction(text):
    assert not DANGEROUS.search(printable(text))
    assert "\n" not in one_line(text)
    assert printable(printable(text)) == printable(text)
    printable(text).encode()


@given(st.text(), st.sampled_from([InvalidInputError, TryAgainError, UnexpectedError]))
def test_every_error_is_safe_to_print(text, kind):
    error = kind(f"the column {text} is not known", f"Rename {text}")
    for said in (str(error), repr(error), error.message, error.remedy):
        assert not DANGEROUS.search(said)
    assert "\nxpscale" not in str(kind(f"{text}\nxpscale: sound"))


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_error_tells_a_password(address):
    assert SECRET not in str(InvalidInputError(f"{address} is gone", f"Check {address}"))
    assert has_password(address)


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_with_a_password_is_refused_and_so_stored_nowhere(address):
    with pytest.raises(InvalidInputError, match=r"password|scheme|has a \?") as caught:
        Storage(address)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["https://host/a@b", "s3://bucket/user@site/x", "https://host/a:b", "s3://bucket/a?key=b%20c"],
)
def test_other_addresses_stay_as_they_are(address):
    assert shown(f"{address.partition('?')[0]} is gone") == f"{address.partition('?')[0]} is gone"
    assert not has_password(address.partition("?")[0])


def test_commands_echo_no_password_and_no_control_character(tmp_path):
    name = f"{tmp_path}/\x1b[2J\u202ename\nxpscale: sound"
    address = f"https://user:{SECRET}@host/a"
    for arguments in (["query", name], ["store", "info", address], ["catalog", "info", address]):
        done = subprocess.run(
            [sys.executable, "-m", "xpscale", *arguments], capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        assert done.returncode in (2, 3), said
        assert SECRET not in said
        assert not DANGEROUS.search(said)
        assert "\nxpscale: sound" not in said


def test_lines_of_ours_stay_lines(tmp_path, capsys):
    say("first\nsecond \x1b[2J")
    assert capsys.readouterr().err == "first\nsecond \\x1b[2J\n"
