import numpy as np
import pytest

from xpscale.plots.models import calibration_by, held_out_curves, kl_per_latent

HEADER = "epoch,loss,nll,kl,held_out_loss,held_out_nll,held_out_kl,held_out_median_loss"


def history(offset):
    rows = [
        f"{e},-90,-100,10,{offset - e},{offset - e - 10},10,{offset - e - 5}" for e in range(1, 51)
    ]
    rows[0] = "1,9,9,0,90000,90000,0,9"
    return "\n".join([HEADER, *rows]) + "\n"


def test_curves_are_the_held_out_columns_and_the_first_epoch_does_not_set_the_frame():
    _, ax = held_out_curves({"ours": history(-80), "theirs": history(-20)}, "title")
    drawn = [line.get_ydata() for line in ax.get_lines()]
    assert drawn[0][-1] == -130
    assert drawn[1][-1] == -135
    bottom, top = ax.get_ylim()
    assert bottom < -135
    assert -40 < top < 100
    assert "theirs: \u221270.0" in ax.get_legend_handles_labels()[1]


def test_bars_are_the_latents_in_order_and_the_legend_counts_the_living():
    _, ax = kl_per_latent({"ours": [1.0, 3.0, 2.0], "theirs": [0.1, 0.6, 0.0]}, 0.5)
    assert [bar.get_height() for bar in ax.patches] == [3, 2, 1, 0.6, 0.1, 0]
    assert ax.get_legend_handles_labels()[1] == ["ours: 3 alive", "theirs: 1 alive"]


def test_calibration_shows_all_it_was_given_around_one():
    edges = np.array([8.0, 10, 12, 14])
    _, ax = calibration_by(
        "G [mag]", {"ours": (edges, np.array([1.0, 1.02, np.nan])), "x": (edges, np.full(3, 1.5))}
    )
    bottom, top = ax.get_ylim()
    assert top > 1.5
    assert (bottom + top) / 2 == pytest.approx(1)
