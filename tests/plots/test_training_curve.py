import matplotlib as mpl
import pytest

mpl.use("Agg")

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.plots.training import training_curve

HEADER = "epoch,loss,nll,kl,held_out_loss,held_out_nll,held_out_kl"


def test_the_curves_are_the_columns_and_a_spike_does_not_hide_them(tmp_path):
    rows = [f"{e},{-90 - e},{-100 - e},10,{-80 - e},{-90 - e},10" for e in range(1, 101)]
    rows[49] = "50,-140,-150,10,90000,89990,10"  # one bad epoch on held-out rows
    path = tmp_path / "history.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    figure, ax = training_curve(path)
    drawn = {tuple(line.get_ydata()) for line in ax.get_lines()}
    for column in (1, 2, 3, 4, 5, 6):
        assert tuple(float(row.split(",")[column]) for row in rows) in drawn
    bottom, top = ax.get_ylim()
    assert bottom < -200
    assert 10 < top < 100
    assert "epoch" in ax.get_xlabel()
    again, same = training_curve(path.read_text(), ax)
    assert (again, same) == (figure, ax)


def test_what_is_no_history_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.csv").write_text(HEADER + "\n")
    with pytest.raises(InvalidInputError, match="not a training history"):
        training_curve(tmp_path / "other.csv")
    with pytest.raises(InvalidInputError, match="no epochs"):
        training_curve(tmp_path / "empty.csv")
    with pytest.raises(NotFoundError):
        training_curve(tmp_path / "none.csv")
