from __future__ import annotations

import numpy as np
import pytest

from tests.commands import xpscale
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.query.catalog import open_catalog
from xpscale.query.likeness import bhattacharyya
from xpscale.query.posterior import latent_covariance


def distances(rows, one):
    """Bhattacharyya's distance as its definition has it, row by row."""
    means = np.stack([rows[f"latent_mean_{i}"].to_numpy() for i in range(6)], 1).astype(float)
    widths = latent_covariance(rows)
    found = []
    for mean, width in zip(means, widths, strict=True):
        both = (width + widths[one]) / 2
        away = mean - means[one]
        log_of = [np.log(np.linalg.det(each)) for each in (both, width, widths[one])]
        found.append(away @ np.linalg.inv(both) @ away / 8 + (log_of[0] - sum(log_of[1:]) / 2) / 2)
    return np.array(found)


def test_nearest_are_those_of_the_definition(cat, example):
    source_id = example.rows["source_id"].to_numpy()
    expected = distances(example.rows, 17)
    order = np.lexsort((source_id, expected))[:50]
    found = cat.like(int(source_id[17]), 50)
    np.testing.assert_array_equal(found["source_id"], source_id[order])
    np.testing.assert_allclose(found["latent_distance"], expected[order], atol=1e-9)
    assert found["source_id"][0] == source_id[17]
    assert (np.diff(found["latent_distance"]) >= 0).all()
    assert set(cat.column_names) - {*found.schema.names} == {"reconstruction", "scatter"}
    assert found.provenance["query"] == f"all rows.like({source_id[17]}, 50)"


def test_nearest_within_a_selection(cat, example):
    one = int(example.rows["source_id"][17].as_py())
    chosen = cat.cone(0, 90, 20).where("flags = 0").columns("source_id", "dec", "flags")
    found = chosen.like(one, 10)
    assert len(found) == 10
    assert (found["dec"] > 70).all()
    assert set(found["flags"]) == {0}
    assert len(chosen.like(one, 10**6)) == len(chosen)


def test_progress_counts_what_is_compared(cat, example):
    one, seen = int(example.rows["source_id"][17].as_py()), []
    cat.like(one, 3, seen.append)
    assert sum(seen) == cat.n_rows


def test_a_distance_of_normal_distributions():
    """Zero for the same, symmetric, and a wide posterior is not near a narrow one."""
    mean, narrow, wide = np.zeros((1, 2)), np.eye(2)[None] * 0.01, np.eye(2)[None]
    same = bhattacharyya(mean, narrow, mean[0], narrow[0])
    np.testing.assert_allclose(same, 0, atol=1e-12)
    one = bhattacharyya(mean + 1, wide, mean[0], narrow[0])
    np.testing.assert_allclose(one, bhattacharyya(mean, narrow, mean[0] + 1, wide[0]))
    beside = bhattacharyya(mean + 0.1, narrow, mean[0], narrow[0])
    assert beside[0, 0] < bhattacharyya(mean, wide, mean[0], narrow[0])[0, 0]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda c: c.like(1), NotFoundError),
        (lambda c: c.like("M31"), InvalidInputError),
        (lambda c: c.like([1, 2]), InvalidInputError),
        (lambda c: c.like(1, 0), InvalidInputError),
        (lambda c: c.like(1, 1.5), InvalidInputError),
        (lambda c: c.outliers(-1), InvalidInputError),
        (lambda c: c.outliers(True), InvalidInputError),
    ],
)
def test_mistakes_are_told(cat, make, error):
    with pytest.raises(error) as told:
        make(cat)
    assert "\n" not in str(told.value)


def test_outliers_come_in_their_order(cat, latents_only, example):
    found = cat.columns("source_id", "in_distribution_score", "reduced_chi2").outliers(20)
    score, chi2 = (
        example.rows[name].to_numpy() for name in ("in_distribution_score", "reduced_chi2")
    )
    order = np.lexsort((example.rows["source_id"].to_numpy(), -chi2, score))[:20]
    expected = example.rows["source_id"].to_numpy()[order]
    chosen = np.isfinite(chi2[order])
    np.testing.assert_array_equal(found["source_id"][chosen], expected[chosen])
    assert len(cat.cone(10, 10, 5).outliers(3)) == 3
    with pytest.raises(InvalidInputError, match="no in_distribution_score"):
        open_catalog(latents_only).outliers(3)


def test_commands(cat, example):
    one = example.rows["source_id"][17].as_py()
    url, names = cat.storage.url, ("--columns", "source_id")
    like = xpscale("query", url, "--like", one, "-n", 3, *names)
    assert (like.code, len(like.out.splitlines())) == (0, 4), like.err
    assert like.out.startswith(f'"source_id","latent_distance","latent_chi2"\n{one},0,0\n')
    odd = xpscale("query", url, "--outliers", *names)
    assert (odd.code, len(odd.out.splitlines())) == (0, 101)
    assert xpscale("query", url, "--outliers", "--like", one).code == 2
    assert xpscale("query", url, "--like", 5).code == 3
    regions = ("--box", "350,10,-30,30", "--polygon", "0 0, 20 0, 0 20", "--pixel", "0/4")
    found = xpscale("query", url, *regions, "--cone", "00:10:00 +05:00:00,300arcmin", *names)
    chosen = cat.box((350, 10), (-30, 30)).polygon("0 0, 20 0, 0 20").pixel(0, 4)
    expected = chosen.cone("00:10:00 +05:00:00", "300arcmin")["source_id"]
    assert len(expected) > 3
    assert found.out.split()[1:] == [str(number) for number in expected]
    assert len(xpscale("query", url, "-n", 7, *names).out.splitlines()) == 8
    for wrong in (("--pixel", "5"), ("--polygon", "1 2"), ("--moc", "none.fits"), ("--box", "1")):
        assert xpscale("query", url, *wrong).code in (2, 3)
