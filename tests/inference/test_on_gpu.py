"""What only a GPU can show of inference; every test is skipped without one.  Its numbers:
tests/golden/test_numerics.py.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from xpscale.errors import TryAgainError
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run_inference
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.schema import OUTPUTS
from xpscale.testing.universe import Universe

N_ROWS = 200_003


@pytest.fixture(scope="module")
def many():
    return Universe(N_ROWS, seed=3).spectra()


@pytest.fixture
def little_memory(gpu):
    """A GPU on which this process may use some 100 MB beyond what it has."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 128e6) / total)
    yield gpu
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_overlapped_micro_batches_of_several_threads_are_those_of_one(gpu, model, many):
    encoder = ScatterVAEEncoder(model, OUTPUTS, gpu)
    alone = encoder(many)
    with ThreadPoolExecutor(4) as threads:  # more than there are lanes
        for table in threads.map(encoder, [many] * 8):
            assert table.equals(alone)
    pieces = [
        encoder(many.take(slice(start, start + 1_000))) for start in (0, 70_000, len(many) - 1_000)
    ]
    for start, piece in zip((0, 70_000, len(many) - 1_000), pieces, strict=True):
        for name in ("latent_mean_0", "latent_log_var_5", "nll"):
            expected = alone[name].to_numpy()[start : start + 1_000]
            np.testing.assert_allclose(piece[name], expected, rtol=1e-4, atol=1e-4, err_msg=name)


def test_a_full_gpu_gets_fewer_rows_at_once(little_memory, model, many, caplog):
    encoder = ScatterVAEEncoder(model, OUTPUTS, little_memory)
    encoder.micro_batch = len(many)
    table = encoder(many)
    assert "cuda is out of memory" in caplog.text
    assert 256 <= encoder.micro_batch < len(many) / 2
    expected = ScatterVAEEncoder(model, OUTPUTS, "cpu")(many)
    for name in ("latent_mean_0", "reduced_chi2"):
        np.testing.assert_allclose(table[name], expected[name], rtol=1e-3, atol=1e-4)


def test_a_gpu_that_others_have_filled_says_so(gpu, model, spectra):
    encoder = ScatterVAEEncoder(model, OUTPUTS, gpu)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-9)
    try:
        with pytest.raises(TryAgainError, match="cuda has no memory left"):
            encoder(spectra)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_run_of_workers_that_share_a_gpu(gpu, store, model, reference, tmp_path):
    plan = plan_inference(store, model, str(tmp_path / "catalog"))
    with local_cluster(2, 2) as client:
        report = run_inference(plan, executor=DaskExecutor(client), device=gpu)
    assert report.is_complete
    assert {key: r.n_out for key, r in report.reports.items()} == {
        key: r.n_out for key, r in reference.reports.items()
    }
