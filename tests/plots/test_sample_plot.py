import numpy as np
import pytest

from tests.commands import done
from xpscale.ingest.build import build_store
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.plots.sample import sample_density
from xpscale.sampling.cells import ColourMagnitudeCells, SkyCells
from xpscale.sampling.draw import draw_sample
from xpscale.sampling.latent_cells import LatentCells, ModelLatents
from xpscale.sampling.sample import save_sample
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.testing.universe import Universe


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A universe of 3,000 sources."""
    pieces = ((f"part {i}", batch) for i, batch in enumerate(Universe(3_000, seed=2).batches()))
    where = str(tmp_path_factory.mktemp("sample-plot") / "store")
    return build_store(pieces, where, attributes={"release": "synthetic"}, max_rows=4096)


@pytest.fixture(scope="module")
def latent_cells(store, tmp_path_factory):
    """Cells of a network that nobody trained: it has latents all the same."""
    where = str(tmp_path_factory.mktemp("sample-plot") / "model")
    scaling = Scaling.fit(store.read(partition) for partition in store.partitions)
    network = ScatterVAE(Architecture(scaling.bands))
    card = ModelCard(network.architecture)
    TrainedModel.create(network, scaling, TrainingDensity.unknown(scaling.bands), card).save(where)
    return LatentCells(ModelLatents(Storage(where)), width=0.02)


def cells_drawn(ax):
    """Pairs of available and drawn objects that the rule's axes show."""
    return set(map(tuple, ax.collections[0].get_offsets().data.astype(int).tolist()))


def test_the_diagrams_are_the_counts_of_the_plan(store, tmp_path):
    cells = ColourMagnitudeCells()
    sample = draw_sample(store, 400, "cut", min_count=10, cells=cells)
    plan = sample.plan
    _, axes = sample_density(plan)
    for name, counts in (("available", plan.available), ("drawn", plan.drawn)):
        empty, shown = (
            mesh.get_array().reshape(cells.shape[::-1]).T.ravel()
            for mesh in axes[name].collections[:2]
        )
        counts = np.array(counts)
        assert shown.filled(0)[list(plan.cell)].tolist() == counts.tolist()
        assert shown.count() == (counts > 0).sum()
        assert np.flatnonzero(empty.filled(0)).tolist() == np.array(plan.cell)[counts == 0].tolist()
        bottom, top = axes[name].get_ylim()
        assert bottom > top  # bright stars are above
    assert cells_drawn(axes["rule"]) == set(zip(plan.available, plan.drawn, strict=True))
    save_sample(sample, str(tmp_path / "s.parquet"))
    done("plot", "sample", tmp_path / "s.parquet", "-o", tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 10_000


def test_the_maps_hold_every_object_though_their_pixels_are_coarser(store):
    plan = draw_sample(store, 400, "flattened", cells=SkyCells(8)).plan
    figure, axes = sample_density(plan)
    assert "400 of" in figure._suptitle.get_text()
    order = int(axes["available"].get_title(loc="left").split("HEALPix order ")[1].split(",")[0])
    assert order < 8
    area, raster = Pixel(order, 0).area_sq_deg, axes["drawn"].images[0].get_array()
    inside = (
        4 * np.pi * (180 / np.pi) ** 2 / (raster.size * np.pi / 4)
    )  # an equal-area map: square degrees of a point
    for name, counts in (("available", plan.available), ("drawn", plan.drawn)):
        image = axes[name].images[0].get_array()
        assert float(image.sum()) * inside == pytest.approx(sum(counts), rel=0.02)
        assert float(image.min()) * area >= 1 - 1e-9
    assert cells_drawn(axes["rule"]) == set(zip(plan.available, plan.drawn, strict=True))


def test_cells_without_a_place_are_shown_by_rank(store, latent_cells):
    plan = draw_sample(store, 400, "density", cells=latent_cells).plan
    _, axes = sample_density(plan)
    assert set(axes) == {"ranks", "rule"}
    density, drawn = axes["ranks"].get_lines()
    assert density.get_ydata().tolist() == sorted(plan.available, reverse=True)
    assert drawn.get_ydata()[0] == plan.drawn[int(np.argmax(plan.available))]
