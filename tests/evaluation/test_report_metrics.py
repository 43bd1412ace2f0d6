"""Every metric of the report finds what is planted, and does not when the plant is removed."""

import numpy as np
import pytest

from tests.evaluation.linear_sky import N_LATENTS, SCATTER, C, Truth, W, labelled, model_of, sky
from xpscale.evaluation.alpha_section import alpha_section
from xpscale.evaluation.baselines import LabelModel, LinearModel
from xpscale.evaluation.bootstrap import of_ratio, of_rows, sky_groups
from xpscale.evaluation.conditional import matched_pairs, partial_r2, predicted_by, right_pairs
from xpscale.evaluation.features import features_of
from xpscale.evaluation.fit_section import compared_fits
from xpscale.evaluation.fit_sums import FitSums
from xpscale.evaluation.latent_section import shared_after_turning, told_by_each
from xpscale.evaluation.odd_section import area_under_curve, same_kind_near
from xpscale.evaluation.probes import METHODS, errors_of, probe
from xpscale.evaluation.simulation import simulate

RNG = np.random.default_rng(3)


def holds(estimate, value):
    return float(estimate.low) <= value <= float(estimate.high)


def sums_of(network, stars):
    sums = FitSums(model_of(network))
    for start in range(0, len(stars), 700):  # as a store is read
        sums.add(stars.take(np.arange(start, min(start + 700, len(stars)))), start)
    return sums


@pytest.fixture(scope="module")
def stars():
    batch, z = sky(3000)
    return labelled(batch, {f"z{k}": z[:, k] for k in range(N_LATENTS)})


def test_an_interval_knows_that_neighbours_are_alike():
    ra, dec = RNG.uniform(0, 360, 4000), np.degrees(np.arcsin(RNG.uniform(-1, 1, 4000)))
    group = sky_groups(ra, dec)
    alone, shared = RNG.normal(size=4000), RNG.normal(size=group.max() + 1)[group]
    by_rows = of_rows(np.mean, group, alone)
    sums = np.stack([np.bincount(group, values, 512) for values in (alone, np.ones(4000))])
    by_sums = of_ratio(*sums)
    np.testing.assert_allclose(by_rows.parts, by_sums.parts)
    assert holds(by_rows, 0)
    assert float(by_rows.high - by_rows.low) == pytest.approx(4 / np.sqrt(4000), rel=0.3)
    wide = of_rows(np.mean, group, shared)
    assert float(wide.high - wide.low) > 2 * float(by_rows.high - by_rows.low)


def test_one_piece_of_the_sky_has_no_interval():
    found = of_rows(np.mean, np.zeros(9, int), np.arange(9.0))
    assert found.value == 4
    assert np.isnan(found.low)
    assert str(found) == "4.00"


def test_residuals_of_the_truth_are_calibrated_and_wrong_scatter_is_seen(stars):
    right, proud = sums_of(Truth(), stars), sums_of(Truth(scatter=0.5), stars)
    assert holds(right.mean("r2"), 1.0)
    for share in ("0.5", "0.6827", "0.9545"):
        assert holds(right.mean(f"within {share}"), float(share))
    flat = right.pit_histogram()
    assert np.mean((flat.low <= 1) & (flat.high >= 1)) > 0.8
    assert proud.mean("r2").low > 1.5
    assert proud.mean("within 0.6827").high < 0.6
    assert proud.pit_histogram().value[0] > 1.5  # a bowl
    assert right.mean("chi0").low > right.mean("chi").high  # errors alone are not enough


def test_loss_of_the_truth_is_lowest(stars):
    losses = [
        float(sums_of(Truth(**wrong), stars).per_spectrum()["loss"].value)
        for wrong in ({}, {"posterior": 0.5}, {"scatter": 0.5}, {"scatter": 2.0})
    ]
    assert losses[0] == min(losses)


def test_simulated_truth_lies_in_the_right_posterior_and_not_in_a_narrow_one(stars):
    for around in (False, True):
        right = simulate(model_of(Truth()), stars, 1, around).covered(0.6827).mean(0)
        narrow = simulate(model_of(Truth(posterior=0.6)), stars, 1, around).covered(0.6827).mean(0)
        if not around:  # only draws from the prior are exact
            np.testing.assert_allclose(right, 0.6827, atol=0.03)
        assert (narrow < right - 0.1).all()


def test_linear_spectra_are_told_by_linear_latents_and_their_scatter_is_found(stars):
    x, x_err = model_of().scaling.standardize(stars.batch)
    enough = LinearModel.train(x, x_err, N_LATENTS)
    np.testing.assert_allclose(enough.scatter, SCATTER, rtol=0.15)
    share = np.linalg.lstsq(enough.directions, W, rcond=None)[0]
    assert np.abs(enough.directions @ share - W).max() < 0.05  # the same space
    few = LinearModel.train(x, x_err, N_LATENTS - 1)
    assert few.fit_of(x, x_err, {}).nll.mean() > enough.fit_of(x, x_err, {}).nll.mean() + 1


@pytest.mark.parametrize("kind", ["quadratic", "network"])
def test_spectra_are_told_by_labels_that_made_them(kind, stars):
    x, x_err = model_of().scaling.standardize(stars.batch)
    shuffled = {name: RNG.permutation(values) for name, values in stars.labels.items()}
    right = LabelModel.train(kind, x, x_err, stars.labels).fit_of(x, x_err, stars.labels)
    wrong = LabelModel.train(kind, x, x_err, shuffled).fit_of(x, x_err, shuffled)
    assert right.scatter.mean() == pytest.approx(SCATTER, rel=0.25)
    assert wrong.nll.mean() > right.nll.mean() + 3


def test_the_exact_model_and_the_linear_baseline_agree_in_one_scaling(stars):
    training, judged = stars.take(np.arange(0, 2000)), stars.take(np.arange(2000, 3000))
    fits = compared_fits({"truth": model_of()}, training, judged)
    truth, linear = fits["truth"], fits["6 linear latents"]
    assert truth.mean.shape == (1000, C)
    # its loss is a bound that the exact posterior reaches on average
    assert truth.nll.mean() == pytest.approx(linear.nll.mean(), abs=0.6)


def test_each_latent_tells_what_it_is_and_no_more(stars):
    latents = np.column_stack([stars.labels[f"z{k}"] for k in range(N_LATENTS)])
    half = np.arange(1500), np.arange(1500, 3000)
    found = told_by_each(
        (latents[half[0]], latents[half[1]]), stars.take(half[0]), stars.take(half[1])
    )
    assert found["z1"].value[1] > 0.95
    assert max(found["z1"].value[k] for k in (0, 2, 3)) < 0.05
    assert found["z1"].value[-1] > 0.9  # all together
    assert found["|sin b|"].high[-1] < 0.1


def test_latents_that_are_turned_are_the_same_and_others_are_not():
    latents = RNG.normal(size=(2000, 4)) * (3, 2, 1, 1)
    turn = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    assert shared_after_turning(latents, latents @ turn + 5) == pytest.approx(1)
    assert shared_after_turning(latents, (latents @ turn)[:, :3]) < 0.99
    assert shared_after_turning(latents, RNG.normal(size=(2000, 4))) < 0.2


@pytest.mark.parametrize("method", METHODS)
def test_probes_read_a_label_that_is_there(method):
    features = RNG.normal(size=(1500, 3))
    labels = {"a": features[:, 0] + 5, "noise": RNG.normal(size=1500)}
    others = RNG.normal(size=(800, 3))
    found = probe(method, features, labels, others)
    assert errors_of(found["a"] - others[:, 0] - 5)[2] < 0.35
    assert np.corrcoef(found["noise"], others[:, 0])[0, 1] ** 2 < 0.2
    assert found["noise"].std() < 0.8


def test_errors_of_labels_are_the_planted_ones():
    d = RNG.normal(2.0, 0.5, 100_000)
    d[:1000] = 1e3
    mae, rmse, robust, bias = errors_of(d)
    assert (robust, bias) == pytest.approx((0.5, 2.0), rel=0.03)
    assert mae > 10
    assert rmse > 90


def giants(n, alpha_by):
    """Giants whose class depends on a latent that labels do not show, or on [Fe/H] alone."""
    batch, z = sky(n, seed=int(alpha_by == "latent") + 5)
    fe_h = 0.3 * z[:, 2] - 0.1
    drive = z[:, 3] if alpha_by == "latent" else -z[:, 2] + 0.5 * RNG.normal(size=n)
    alpha = np.where(drive > 0.5, 0.25, 0.05) - 0.05 * fe_h + 0.02 * RNG.normal(size=n)
    labels = {"teff": 4600 + 150 * z[:, 0], "logg": 2.2 + 0.4 * z[:, 1], "fe_h": fe_h}
    return labelled(batch, {**labels, "alpha_m": alpha}), z


@pytest.mark.parametrize("alpha_by", ["latent", "fe_h"])
def test_alpha_at_fixed_labels_is_found_only_where_latents_carry_it(alpha_by):
    stars, z = giants(2200, alpha_by)
    half = np.arange(1400), np.arange(1400, 2200)
    features = features_of(
        {"truth": (z[half[0]], z[half[1]])}, stars.take(half[0]), stars.take(half[1])
    )
    section = alpha_section(features, {})
    rows = {
        name: table.rows["latents, truth"]
        for name, table in section.tables.items()
        if "latents, truth" in table.rows
    }
    assert rows["classes"]["MCC"].value > 0.5  # in both: on a whole sample nothing is proven
    added, pairs = rows["residualized"]["partial R²"], rows["matched"]["right pairs"]
    assert section.tables["classes"].rows["majority"]["MCC"].value == 0
    if alpha_by == "latent":
        assert added.low > 0.5
        assert pairs.low > 0.8
        assert "carry [alpha/M] beyond" in section.sentence
        single = section.tables["single"].rows
        assert abs(single["latent 3"]["correlation"].value) > 0.5
    else:
        assert added.low <= 0.02
        assert pairs.low < 0.5 + 0.05
        assert "is not shown" in section.sentence


def test_pairs_are_alike_and_each_star_is_in_one():
    labels = {
        "teff": RNG.normal(4600, 200, 900),
        "logg": RNG.normal(2.3, 0.3, 900),
        "fe_h": RNG.normal(-0.2, 0.2, 900),
    }
    one, propensity = RNG.random(900) < 0.3, RNG.random(900) / 10
    ours, theirs = matched_pairs(labels, propensity, one)
    assert one[ours].all()
    assert not one[theirs].any()
    assert len(set(ours)) == len(ours) > 50
    assert len(set(theirs)) == len(theirs)
    assert np.abs(labels["teff"][ours] - labels["teff"][theirs]).max() <= 75
    assert np.abs(propensity[ours] - propensity[theirs]).max() <= 0.05
    assert right_pairs(one.astype(float), (ours, theirs)).mean() == 1
    assert right_pairs(np.zeros(900), (ours, theirs)).mean() == 0.5
    assert all(len(rows) == 0 for rows in matched_pairs(labels, propensity, np.zeros(900, bool)))


def test_partial_r2_is_the_planted_one():
    u, z = RNG.normal(size=(2, 3000))
    y = u + 0.5 * z + 0.5 * RNG.normal(size=3000)
    known = predicted_by(u[:2000, None], y[:2000], u[2000:, None])
    both = np.column_stack([u, z])
    added = predicted_by(both[:2000], y[:2000], both[2000:])
    assert partial_r2(y[2000:], known, added) == pytest.approx(0.5, abs=0.1)
    nothing = np.column_stack([u, RNG.normal(size=3000)])
    added = predicted_by(nothing[:2000], y[:2000], nothing[2000:])
    assert partial_r2(y[2000:], known, added) < 0.02


def test_area_under_the_curve_and_neighbours_find_odd_objects():
    ordinary = RNG.random(500)
    assert area_under_curve(ordinary / 1e3, ordinary + 0.1) == 1
    assert area_under_curve(RNG.permutation(ordinary), ordinary) == pytest.approx(0.5)
    latents = RNG.normal(size=(600, 3))
    kind = np.repeat([0, 1], [550, 50])
    apart = latents + 10 * kind[:, None]
    assert same_kind_near(apart, kind, np.flatnonzero(kind)).mean() == 1
    assert same_kind_near(latents, kind, np.flatnonzero(kind))[:, 0].mean() < 0.3
