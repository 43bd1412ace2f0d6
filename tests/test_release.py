"""A release is described by a small file; data of two releases are never mixed."""

import pytest

from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.release import DR3, UNSTATED, find_release, release_of, require_same_release


@pytest.mark.parametrize("name", ["dr3", "DR3", "Gaia DR3", "gaiadr3", "gaia_dr3"])
def test_a_release_has_several_spellings(name):
    assert find_release(name) == DR3
    assert DR3.known_bands == Bands(55, 55)
    assert DR3.position == "ICRS, epoch J2016.0"


def test_dr4_leaves_its_bands_to_the_data():
    dr4 = find_release("dr4")
    assert dr4.bands is None
    dr4.require_bands(Bands(51, 55), "a file")
    with pytest.raises(InvalidInputError, match="--bands"):
        _ = dr4.known_bands


def test_a_file_completes_a_release_without_a_change_of_code(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'extends = "dr4"\nbands = { n_bp = 51, n_rp = 55 }\n'
        '[archive]\nspectra_folder = "xp_mean"\n[columns]\nbp_coefficients = "bp_coeff"\n'
    )
    release = find_release(str(file))
    assert release.name == "Gaia DR4"
    assert release.bands == Bands(51, 55)
    assert release.archive.spectra_folder == "xp_mean"
    assert release.archive.sources_folder == find_release("dr4").archive.sources_folder
    assert release.column("bp_coefficients") == "bp_coeff"
    assert release.column("rp_coefficients") == "rp_coefficients"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "dr9"', "extends 'dr9', which is no release"),
        ('extends = "dr4"\nbands = 110', "bands are 110"),
        ('extends = "dr4"\n[archive]\nspectra_folders = "x"', "Did you mean 'spectra_folder'"),
        ('name = "Mine"', "lacks archive, citation"),
        ("name = ", "is not TOML"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, text, message):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        find_release(str(file))


def test_an_unknown_release_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="Known are dr3, dr4"):
        find_release("dr7")
    with pytest.raises(NotFoundError, match="does not exist"):
        find_release(str(tmp_path / "none.toml"))


def test_data_that_say_nothing_are_of_dr3_only_with_its_bands():
    assert release_of("", Bands(55, 55)) == DR3
    assert release_of("", Bands(51, 55)) == UNSTATED
    assert release_of("Gaia DR4", Bands(51, 55)) == find_release("dr4")
    assert release_of("a survey of mine", Bands(3, 4)).name == "a survey of mine"


def test_two_releases_are_not_mixed():
    require_same_release("the model", DR3, "the store", find_release("Gaia DR3"))
    with pytest.raises(ConflictError, match="the model is of Gaia DR3, the store of Gaia DR4"):
        require_same_release("the model", DR3, "the store", find_release("dr4"))


def test_spectra_of_other_bands_are_not_taken_for_dr3():
    with pytest.raises(InvalidInputError, match=r"51 BP \+ 55 RP .* Gaia DR3 has 55 BP \+ 55 RP"):
        DR3.require_bands(Bands(51, 55), "a file")
