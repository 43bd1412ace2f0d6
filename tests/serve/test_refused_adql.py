"""What ADQL does not have here gets one line: what it is, and what there is in its place."""

import pytest

from xpscale.errors import InvalidInputError
from xpscale.serve.adql import parse


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ("ln(kl)", "LOG"),
        ("square(kl)", "POWER"),
        ("ceil(kl)", "CEILING"),
        ("ifnull(kl, 0)", "COALESCE"),
        ("stddev_samp(kl)", "STDDEV"),
        ("percentile_cont(0.5)", "MEDIAN"),
        ("ivo_healpix_index(6, ra, dec)", "GAIA_HEALPIX_INDEX"),
    ],
)
def test_functions_of_other_services_have_their_names_here(asked, known):
    with pytest.raises(InvalidInputError, match="there is no function") as caught:
        parse(f"SELECT {asked} FROM latents")
    assert caught.value.remedy.startswith(f"Did you mean {known}? ")


@pytest.mark.parametrize(
    ("asked", "line", "remedy"),
    [
        ("abs()", "ABS takes 1 argument, not 0", "ABS(a)"),
        ("power(kl)", "POWER takes 2 arguments, not 1", "POWER(a, b)"),
        ("distance(1)", "DISTANCE takes 2 to 4 arguments, not 1", "DISTANCE(a, b)"),
    ],
)
def test_a_wrong_number_of_arguments_gets_a_line(asked, line, remedy):
    with pytest.raises(InvalidInputError) as caught:
        parse(f"SELECT {asked} FROM latents")
    assert caught.value.message == line
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("SELECT kl FROM latents QUALIFY 1", "QUALIFY"),
        ("SELECT kl FROM latents TABLESAMPLE 5", "TABLESAMPLE"),
        ("SELECT * EXCLUDE (ra) FROM latents", "EXCLUDE"),
    ],
)
def test_a_clause_that_is_not_known_is_named(query, what):
    with pytest.raises(InvalidInputError) as caught:
        parse(query)
    assert caught.value.message.startswith(f"{what} is not part of ADQL here, in ")
