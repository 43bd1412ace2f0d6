"""Planted labels are found with errors that hold; where nothing was planted, nothing is found."""

import numpy as np
import pytest

from xpscale.errors import InvalidInputError
from xpscale.labels.label_model import FAR, OUT_OF_RANGE, fit_model
from xpscale.labels.star_latents import StarLatents

N, L = 1_600, 3


def sky(n, seed):
    """Latents that are known to 0.1 or to 0.5, and a label that depends on two of them."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, L))
    width = np.where(rng.random(n) < 0.5, 0.1, 0.5)
    seen = true + rng.normal(size=(n, L)) * width[:, None]
    # the posterior of a prior N(0, 1) and an error of that width
    variance = width**2 / (1 + width**2)
    covariance = variance[:, None, None] * np.eye(L)
    stars = StarLatents(seen / (1 + width**2)[:, None], covariance)
    noise = 0.05 * np.exp(0.7 * true[:, 2])  # more of it where the third latent is high
    label = np.sin(1.5 * true[:, 0]) + 0.5 * true[:, 1] + rng.normal(size=n) * noise
    known_error = np.where(rng.random(n) < 0.5, 0.02, 0.2)
    return stars, label, label + rng.normal(size=n) * known_error, known_error, rng


def fitted(n=N, seed=1, **changed):
    stars, _, known, error, rng = sky(n, seed)
    labels = {"x": (changed.get("known", known), error)}
    return fit_model(stars, labels, rng.integers(0, 200, n), "id")


@pytest.fixture(scope="module")
def model():
    return fitted()


def test_label_is_found_and_its_error_holds_in_every_bin(model):
    stars, label, *_ = sky(6_000, 2)
    value, error, _ = model.predict(stars)["x"]
    residual = value - label
    assert np.median(np.abs(residual)) < 0.25 * label.std()
    inside = np.abs(residual) < error
    for quantity in (error, stars.covariance[:, 0, 0], stars.mean[:, 2]):
        order = np.argsort(quantity, kind="stable")
        shares = [inside[rows].mean() for rows in np.array_split(order, 4)]
        assert all(0.62 < share < 0.74 for share in shares), shares
    wide = stars.covariance[:, 0, 0] > 0.1
    assert error[wide].mean() > 1.5 * error[~wide].mean()


def test_scores_are_those_of_stars_that_were_left_out(model):
    stars, _, known, error, _ = sky(6_000, 3)
    value, own, _ = model.predict(stars)["x"]
    score = model.labels["x"].score
    assert score.robust == pytest.approx(1.4826 * np.median(np.abs(value - known)), rel=0.1)
    assert score.coverage == pytest.approx(
        (np.abs(value - known) < np.hypot(own, error)).mean(), abs=0.03
    )
    assert "x" in str(model)


def test_nothing_is_found_where_nothing_was_planted():
    _, _, known, _, _ = sky(N, 1)
    noise = fitted(known=np.random.default_rng(5).permutation(known))
    stars, label, *_ = sky(3_000, 2)
    value, error, _ = noise.predict(stars)["x"]
    assert value.std() < 0.3 * label.std()
    assert np.median(error) == pytest.approx(label.std(), rel=0.25)


def test_stars_that_are_far_from_the_labelled_ones_are_flagged_and_have_large_errors(model):
    near, _, _, _, _ = sky(500, 4)
    far = StarLatents(near.mean + np.array([12.0, 0, 0]), near.covariance)
    _, error, flag = model.predict(near)["x"]
    _, error_far, flag_far = model.predict(far)["x"]
    assert ((flag & FAR) > 0).mean() < 0.02
    assert ((flag_far & FAR) > 0).all()
    assert np.median(error_far) > 3 * np.median(error)


def test_labels_beyond_the_known_ones_are_flagged():
    stars, _, known, error, rng = sky(N, 1)
    low = known < 0.5
    model = fit_model(
        stars.take(low), {"x": (known[low], error[low])}, rng.integers(0, 200, low.sum()), "id"
    )
    value, _, flag = model.predict(stars)["x"]
    assert (((flag & OUT_OF_RANGE) > 0) == (value > known[low].max()) | (value < known.min())).all()
    assert ((flag & OUT_OF_RANGE) > 0).any()


def test_temperatures_are_fitted_in_their_logarithm():
    stars, _, known, error, rng = sky(N, 1)
    hot, its_error = 5000 * np.exp(known), 5000 * np.exp(known) * error
    pixel = rng.integers(0, 200, N)
    log, plain = (
        fit_model(stars, {"x": pair}, pixel, "id") for pair in ((hot, its_error), (known, error))
    )
    assert log.labels["x"].is_log
    assert not plain.labels["x"].is_log
    expected, error_of_log, _ = plain.predict(stars)["x"]
    value, own, _ = log.predict(stars)["x"]
    assert value == pytest.approx(5000 * np.exp(expected), rel=0.02)
    assert own / value == pytest.approx(error_of_log, rel=0.2)


def test_few_stars_have_honest_errors():
    """Sixty labelled stars: errors hold, taken over several sets of them."""
    stars, label, *_ = sky(2_000, 2)
    shares = []
    for seed in range(10, 16):
        value, error, _ = fitted(60, seed).predict(stars)["x"]
        shares.append((np.abs(value - label) < error).mean())
    assert 0.55 < np.mean(shares) < 0.85, shares


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: np.where(np.arange(len(x)) < 49, x, np.nan), "49 stars"),
        (lambda x: np.full(len(x), 2.0), "is 2 for all"),
        (lambda x: np.full(len(x), np.nan), "0 stars"),
    ],
    ids=["few", "constant", "none"],
)
def test_what_cannot_be_fitted_is_refused(change, words):
    _, _, known, *_ = sky(100, 1)
    with pytest.raises(InvalidInputError, match=words):
        fitted(100, known=change(known))
