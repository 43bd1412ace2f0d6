"""Training on a GPU; every test is skipped without one."""

from dataclasses import replace

import pytest
import torch

from tests.support.memory_reader import SIX_EACH
from xpscale.training.loader import load_training_data
from xpscale.training.loop import Trainer
from xpscale.training.run import train
from xpscale.training.settings import TrainingSettings

SETTINGS = TrainingSettings(epochs=6, batch_size=256, n_latents=3, hidden=(10, 10), seed=7)


@pytest.mark.parametrize(
    "changes", [{}, {"max_rows": 1000}, {"compile": True}, {"precision": "bf16"}]
)
def test_a_gpu_trains_as_well_as_a_cpu(gpu, reader, tmp_path, changes):
    on_cpu = train(reader, str(tmp_path / "cpu"), SETTINGS)
    on_gpu = train(reader, str(tmp_path / "gpu"), replace(SETTINGS, **changes), device=gpu)
    loss = on_cpu.card.metrics["held_out_loss"]
    assert on_gpu.card.metrics["held_out_loss"] == pytest.approx(loss, abs=0.5)


def test_a_run_goes_on_from_a_state(gpu, reader):
    """Weights after an interruption are those without one, to the rounding of sums in another
    order.
    """
    data = load_training_data(reader, SETTINGS)
    rows = data.training.to(torch.device(gpu))
    whole, first = (Trainer(SETTINGS, SIX_EACH, torch.device(gpu)) for _ in range(2))
    for batch in rows.batches(whole.order, 0):
        whole.step(batch, 1e-3)
    batches = rows.batches(first.order, 0)
    for _ in range(4):
        first.step(next(batches), 1e-3)
    second = Trainer(SETTINGS, SIX_EACH, torch.device(gpu))
    second.restore(first.state())
    for batch in rows.batches(second.order, 0, 4):
        second.step(batch, 1e-3)
    torch.testing.assert_close(second.weights.vector, whole.weights.vector, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{}, {"compile": True}, {"precision": "bf16"}, {"masked_fraction": 0.3}]
)
def test_replayed_steps_are_those_that_were_recorded(gpu, reader, changes):
    settings = replace(SETTINGS, **changes)
    data = load_training_data(reader, settings)
    rows = data.training.to(torch.device(gpu))
    replayed, plain = (Trainer(settings, SIX_EACH, torch.device(gpu)) for _ in range(2))
    plain.update = plain.update_weights
    for batch in (batch for epoch in range(3) for batch in rows.batches(plain.order, epoch)):
        rate = 1e-3 / (1 + batch.number)
        terms, norm = (values.clone() for values in replayed.step(batch, rate))
        torch.testing.assert_close((terms, norm), plain.step(batch, rate), rtol=1e-3, atol=1e-3)
    assert replayed.update.n_records == 2  # batches differ by a row
    tolerance = 1e-2 if "precision" in changes else 1e-4
    torch.testing.assert_close(
        replayed.weights.vector, plain.weights.vector, rtol=tolerance, atol=tolerance
    )
