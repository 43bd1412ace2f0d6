import numpy as np
import pytest

from xpscale.evaluation.labels import (
    classes_by_forest,
    is_alpha_giant,
    is_high_alpha,
    mcc,
    principal_components,
)

RNG = np.random.default_rng(1)


def stars(n):
    labels = {
        "teff": RNG.uniform(4000, 6000, n),
        "logg": RNG.uniform(-0.5, 5, n),
        "fe_h": RNG.uniform(-1.5, 0.4, n),
        "alpha_m": RNG.uniform(0, 0.35, n),
    }
    labels["alpha_m"][::10] = np.nan
    return labels


def test_the_sample_and_the_line_are_the_stated_ones():
    labels = stars(3000)
    chosen, high = is_alpha_giant(labels), is_high_alpha(labels)
    for i in range(0, 3000, 7):
        teff, logg, fe_h, alpha_m = (
            labels[name][i] for name in ("teff", "logg", "fe_h", "alpha_m")
        )
        assert chosen[i] == (
            0 < logg < 3.5 and teff < 5200 and fe_h > -1.2 and not np.isnan(alpha_m)
        )
        assert high[i] == (alpha_m > 0.12 - 0.11 * min(fe_h, 0))


def test_mcc_is_one_zero_or_minus_one_where_it_must_be():
    true = np.array([1, 1, 0, 0, 0], bool)
    assert mcc(true, true) == 1
    assert mcc(~true, true) == -1
    assert mcc(np.zeros(5, bool), true) == 0
    assert mcc(np.array([1, 0, 1, 0, 0], bool), true) == pytest.approx(1 / 6)


def test_features_that_tell_score_and_noise_does_not():
    pytest.importorskip("sklearn", reason="pip install 'xpscale[evaluate]'")
    labels, others = stars(3000), stars(2000)

    def telling(known):
        return np.stack([np.nan_to_num(known["alpha_m"]), known["fe_h"]], axis=1)

    ours, theirs = is_alpha_giant(labels), is_alpha_giant(others)
    high, truth = is_high_alpha(labels)[ours], is_high_alpha(others)[theirs]

    def score(features, held_out):
        return mcc(classes_by_forest(features[ours], high, held_out[theirs]) > 0.5, truth)

    assert score(telling(labels), telling(others)) > 0.9
    assert abs(score(RNG.normal(size=(3000, 2)), RNG.normal(size=(2000, 2)))) < 0.15


def test_principal_components_hold_the_variance():
    values = RNG.normal(size=(500, 5)) * (1, 10, 3, 0.1, 0.1)
    ours, theirs = principal_components(values, values[:7], 2)
    assert ours.std(0) == pytest.approx(values[:, [1, 2]].std(0), rel=0.02)
    np.testing.assert_allclose(theirs, ours[:7])
