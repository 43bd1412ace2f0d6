import csv
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.memory_reader import SIX_EACH, MemoryReader, planted
from xpscale.errors import ConflictError, InvalidInputError, PermanentError
from xpscale.model.checkpoint import load_model
from xpscale.sampling.draw import draw_sample
from xpscale.training.gradient import SHARE_ROWS, map_in_threads
from xpscale.training.loader import load_training_data
from xpscale.training.loop import Trainer
from xpscale.training.metrics import held_out_loss
from xpscale.training.run import estimate, train
from xpscale.training.session import CHECKPOINT, HISTORY, one_torch_thread
from xpscale.training.settings import TrainingSettings

SETTINGS = TrainingSettings(epochs=6, batch_size=256, n_latents=3, hidden=(10, 10), seed=7)
STREAMED = replace(SETTINGS, max_rows=1000)


def history_of(folder):
    with (folder / HISTORY).open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(reader, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "whole"
    return folder, train(reader, str(folder), SETTINGS)


def test_training_learns_and_leaves_a_model(reader, finished):
    folder, model = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "decoder.safetensors",
        HISTORY,
        "model.safetensors",
    ]
    rows = history_of(folder)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for row in rows:
        assert row["loss"] == pytest.approx(row["nll"] + row["kl"])
        assert row["held_out_loss"] == pytest.approx(row["held_out_nll"] + row["held_out_kl"])
        assert row["held_out_kl"] == pytest.approx(sum(row[f"held_out_kl_{k}"] for k in range(3)))
    assert rows[-1]["held_out_loss"] < rows[0]["held_out_loss"] - 1
    loaded = load_model(str(folder))
    assert loaded.model_id == model.model_id
    data = load_training_data(reader, SETTINGS)
    assert loaded.card.data["n_training"] == len(data.training)
    assert loaded.card.data["n_training"] + loaded.card.data["n_held_out"] == 3000
    assert loaded.density.n_rows == len(data.training)
    assert np.array_equal(loaded.typicality.quantiles, model.typicality.quantiles)
    assert loaded.card.metrics["held_out_loss"] == pytest.approx(rows[-1]["held_out_loss"])


def test_running_again_is_a_no_op_and_other_settings_are_refused(reader, finished):
    folder, model = finished
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    def never(metrics):
        raise AssertionError("it trained again")

    assert train(reader, str(folder), SETTINGS, on_epoch=never).model_id == model.model_id
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    with pytest.raises(ConflictError, match="epochs 6 there, 9 here; learning_rate"):
        train(reader, str(folder), replace(SETTINGS, epochs=9, learning_rate=0.1))
    with pytest.raises(ConflictError, match="store_digest"):
        train(MemoryReader(planted(500)), str(folder), SETTINGS)


def test_an_interrupt_keeps_the_last_whole_epoch(reader, finished, tmp_path):
    def interrupt(metrics):
        if metrics.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(reader, str(tmp_path), SETTINGS, on_epoch=interrupt)
    assert len(history_of(tmp_path)) == 3
    with pytest.raises(ConflictError, match="seed 7 there, 8 here"):
        train(reader, str(tmp_path), replace(SETTINGS, seed=8))
    assert train(reader, str(tmp_path), SETTINGS).model_id == finished[1].model_id
    assert not (tmp_path / CHECKPOINT).exists()


def test_what_is_no_training_run_is_not_touched(reader, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConflictError, match="not a model"):
        train(reader, str(tmp_path), SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / CHECKPOINT).write_bytes(b"half a file")
    with pytest.raises(InvalidInputError, match="damaged"):
        train(reader, str(broken), SETTINGS)


def test_a_loss_that_is_not_finite_stops_at_once_and_names_the_source(reader):
    data = load_training_data(reader, SETTINGS)
    data.training.x[123] = 1e30  # its square overflows
    trainer = Trainer(SETTINGS, SIX_EACH, torch.device("cpu"))
    with pytest.raises(
        PermanentError, match=f"epoch 1, batch .*source_id {data.training.source_id[123]}, "
    ):
        trainer.train_epoch(data.training, data.held_out)
    assert all(torch.isfinite(parameter).all() for parameter in trainer.network.parameters())


@pytest.mark.parametrize("number", [0, 5, 9])
def test_a_loss_that_is_not_finite_is_noticed_and_nothing_is_changed(device, reader, number):
    data = load_training_data(reader, SETTINGS)
    rows = data.training.to(torch.device(device))
    trainer = Trainer(SETTINGS, SIX_EACH, torch.device(device))
    batches = list(rows.batches(trainer.order, 0))
    spoilt = batches[number].rows.source_id[3]
    rows.x[torch.from_numpy(rows.source_id == spoilt).to(device)] = torch.nan
    with pytest.raises(PermanentError, match=rf"epoch 1, batch {number}.*{spoilt}"):
        trainer.train_epoch(rows, rows)
    assert trainer.weights.vector.isfinite().all()


def test_rows_are_split_scaled_and_bounded(reader):
    spectra = planted(3000)
    spectra.coefficients[5, 0], spectra.phot_g_mean_flux[6], spectra.coefficient_errors[7, 1] = (
        np.nan,
        np.nan,
        -1,
    )
    data = load_training_data(MemoryReader(spectra), SETTINGS)
    assert data.n_rejected == {"non_finite_coefficients": 1, "no_g_flux": 1, "bad_errors": 1}
    assert len(data.training) + len(data.held_out) == 2997
    assert not set(data.training.source_id) & set(data.held_out.source_id)
    torch.testing.assert_close(
        data.training.x.mean(0), torch.zeros(12), atol=1e-5, rtol=0
    )  # of these rows alone
    torch.testing.assert_close(
        data.training.x.std(0, correction=0), torch.ones(12), atol=1e-5, rtol=0
    )
    assert not data.shuffle
    assert load_training_data(reader, replace(SETTINGS, max_rows=1000)).shuffle["n_windows"] > 1
    thinned = load_training_data(reader, replace(SETTINGS, max_held_out_rows=50)).held_out
    assert 20 < len(thinned) < 90


def test_training_on_a_sample(reader, tmp_path):
    sample = draw_sample(reader, 400, "flattened", split=SETTINGS.split)
    data = load_training_data(reader, SETTINGS, sample)
    assert np.array_equal(np.sort(data.training.source_id), np.sort(sample.source_id))
    model = train(reader, str(tmp_path), replace(SETTINGS, epochs=1), sample=sample)
    assert model.card.data["sample_digest"] == sample.digest
    with pytest.raises(ConflictError, match="sample_digest"):
        train(reader, str(tmp_path), replace(SETTINGS, epochs=1))
    with pytest.raises(InvalidInputError, match="another part of the sky"):
        load_training_data(reader, replace(SETTINGS, split_seed=9), sample)
    with pytest.raises(InvalidInputError, match="another store"):
        load_training_data(MemoryReader(planted(500)), SETTINGS, sample)


def test_estimate_scales_with_the_work():
    short, long = (estimate(20_000, replace(SETTINGS, epochs=n), SIX_EACH) for n in (10, 1000))
    assert 0 < short < long


KILLED_AT_STEP = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from tests.support.memory_reader import SIX_EACH, MemoryReader, planted
from test_train import SETTINGS, STREAMED
from xpscale.training.gradient import SHARE_ROWS
from xpscale.training.loop import Trainer
from xpscale.training.metrics import held_out_loss
from xpscale.training.run import train

step, countdown = Trainer.step, {step}
def counted(self, *arguments):
    global countdown
    countdown -= 1
    if countdown < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments)
Trainer.step = counted
train(MemoryReader(planted(3000)), {folder!r}, {settings}, checkpoint_every_s={every})
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SETTINGS", "STREAMED"])
def test_killed_at_any_step_again_and_again_it_ends_in_the_same_bits(
    reader, finished, tmp_path, name
):
    """Each life is killed in the middle of a step and goes on from the last checkpoint: of the step
    before, or older.
    """
    rng, folder = np.random.default_rng(len(name)), str(tmp_path / "killed")
    settings = {"SETTINGS": SETTINGS, "STREAMED": STREAMED}[name]
    n_steps = (
        round(len(load_training_data(reader, settings).training) / settings.batch_size)
        * settings.epochs
    )
    for every in (0, 0.02, 1000):
        step = int(rng.integers(1, n_steps // 4))
        values = {"step": step, "folder": folder, "settings": name, "every": every}
        script = KILLED_AT_STEP.format(tests=str(Path(__file__).parent), **values)
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert not (Path(folder) / "card.json").exists()
    state = torch.load(Path(folder) / CHECKPOINT, weights_only=True)["state"]
    assert state["epoch"] + state["batch"] > 0
    whole = finished[1] if name == "SETTINGS" else train(reader, str(tmp_path / "whole"), settings)
    assert train(reader, folder, settings).model_id == whole.model_id
    drop = {"seconds", "spectra_per_s"}
    places = (Path(folder), finished[0] if name == "SETTINGS" else tmp_path / "whole")
    left, right = (
        [{k: row[k] for k in row if k not in drop} for row in history_of(place)] for place in places
    )
    assert left == right


def test_training_stops_early_and_keeps_the_best_epoch(reader, tmp_path):
    """A learning rate that grows worse after a few epochs: what is kept is what was best on the
    held-out rows.
    """
    settings = replace(SETTINGS, epochs=60, patience=4, learning_rate=0.05, schedule="restarts")
    model = train(reader, str(tmp_path / "m"), settings)
    losses = [row["held_out_loss"] for row in history_of(tmp_path / "m")]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 4 < 60
    assert model.card.metrics["epoch"] == best + 1
    assert model.card.metrics["epochs_trained"] == len(losses)
    held_out = load_training_data(reader, settings).held_out
    assert held_out_loss(model.network, held_out, settings.seed).loss == pytest.approx(losses[best])
    last = train(
        reader,
        str(tmp_path / "last"),
        replace(settings, keep="last", patience=0, epochs=len(losses)),
    )
    assert last.card.metrics["epoch"] == len(losses)
    assert held_out_loss(last.network, held_out, settings.seed).loss == pytest.approx(
        [row["held_out_loss"] for row in history_of(tmp_path / "last")][-1]
    )


def test_held_out_pixels_are_never_seen(reader, tmp_path):
    """Spectra of held-out pixels may be anything: not a bit of weights, scaling and density
    changes.
    """
    spectra = planted(3000)
    rows = SETTINGS.split.held_out(spectra)
    spectra.coefficients[rows] *= 3
    settings = replace(SETTINGS, epochs=2, keep="last")
    one, other = (
        train(data, str(tmp_path / name), settings)
        for name, data in (("a", reader), ("b", MemoryReader(spectra)))
    )
    assert rows.sum() > 200
    assert other.model_id == one.model_id
    assert other.card.metrics["held_out_loss"] != one.card.metrics["held_out_loss"]


@pytest.mark.parametrize(("epoch", "count"), [(0, True), (SETTINGS.epochs // 2, False)])
def test_free_nats_count_until_the_middle_of_training(reader, epoch, count):
    data = load_training_data(reader, SETTINGS)
    trainers = [
        Trainer(replace(SETTINGS, free_nats=nats), SIX_EACH, torch.device("cpu"))
        for nats in (0.0, 5.0)
    ]
    for trainer in trainers:
        trainer.epoch = epoch
        trainer.train_epoch(data.training, data.held_out)
    without, with_them = (trainer.weights.vector for trainer in trainers)
    assert torch.equal(without, with_them) is not count


def test_noise_falls_from_batch_to_batch(reader, monkeypatch):
    """In the last epoch: its draws are the largest factors that noise was added with."""
    data = load_training_data(reader, SETTINGS)
    trainer, largest = (
        Trainer(replace(SETTINGS, added_noise=3.0), SIX_EACH, torch.device("cpu")),
        [],
    )
    trainer.gradient.share_rows = SETTINGS.batch_size
    trainer.epoch, data_of = SETTINGS.epochs - 1, trainer.gradient.objective.data
    monkeypatch.setattr(
        trainer.gradient.objective,
        "data",
        lambda x, e, d: largest.append(d[-2].max().item()) or data_of(x, e, d),
    )
    trainer.train_epoch(data.training, data.held_out)
    first, *_, last = largest
    assert 0.8 < first / (3.0 * 2 / SETTINGS.epochs) <= 1
    assert last < 2 * first / len(largest)


@pytest.mark.parametrize(
    "changes", [{"precision": "bf16"}, {"compile": True}, {"max_gradient_norm": 0.5}]
)
def test_options_of_the_step_change_little_or_what_they_say(reader, changes):
    data = load_training_data(reader, SETTINGS)
    plain, changed = (
        Trainer(replace(SETTINGS, **options), SIX_EACH, torch.device("cpu"))
        for options in ({}, changes)
    )
    batch, norms = next(data.training.batches(plain.order, 0)), []
    for trainer in (plain, changed):
        trainer.optimizer.step = lambda gradient, _: norms.append(gradient.norm())
    (terms, norm), (other_terms, other_norm) = (
        trainer.step(batch, 1e-3) for trainer in (plain, changed)
    )
    tolerance = 0.03 if "precision" in changes else 1e-4
    torch.testing.assert_close(other_terms, terms, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(other_norm, norm, rtol=3 * tolerance, atol=tolerance)
    if "max_gradient_norm" in changes:
        assert norm > 0.5
        kept = min(norm.item(), SETTINGS.max_gradient_norm)
        assert norms == [pytest.approx(kept, rel=1e-4), pytest.approx(0.5, rel=1e-4)]
    if "precision" in changes:
        assert not torch.equal(other_terms, terms)
        assert changed.weights.vector.dtype == torch.float32


@pytest.mark.parametrize("network", ["iterative", "scatter_vae"])
def test_the_bits_do_not_depend_on_the_number_of_cores(reader, network):
    settings = replace(SETTINGS, network=network, masked_fraction=0.0)
    data, found = load_training_data(reader, settings), []
    for n in (1, 2, 3):
        trainer = Trainer(settings, SIX_EACH, torch.device("cpu"))
        trainer.gradient.map_shares = map_in_threads(n)
        with one_torch_thread():
            for _ in range(2):
                trainer.train_epoch(data.training, data.held_out)
        found.append(trainer.weights.vector.detach())
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_shares_make_the_step_of_the_whole_batch(reader):
    settings = replace(SETTINGS, free_nats=0.0, batch_size=600)
    data = load_training_data(reader, settings)
    shared, whole = (Trainer(settings, SIX_EACH, torch.device("cpu")) for _ in range(2))
    whole.gradient.share_rows = settings.batch_size
    batch = next(data.training.batches(whole.order, 0))
    (terms, norm), (wanted, wanted_norm) = (each.step(batch, 1e-3) for each in (shared, whole))
    torch.testing.assert_close(terms, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm, wanted_norm, rtol=1e-4, atol=1e-4)


def test_a_network_that_normalizes_batches_is_given_whole_ones():
    paper = replace(SETTINGS, network="scatter_vae", masked_fraction=0.0)
    shares = [
        Trainer(each, SIX_EACH, torch.device("cpu")).gradient.share_rows
        for each in (paper, SETTINGS)
    ]
    assert shares == [SETTINGS.batch_size, SHARE_ROWS]


def test_threads_keep_the_order_and_pass_errors_on():
    run = map_in_threads(3)
    assert list(run(lambda i: i * i, range(7))) == [0, 1, 4, 9, 16, 25, 36]
    assert list(run(lambda i: torch.get_num_threads(), range(3))) == [1, 1, 1]
    with pytest.raises(ZeroDivisionError):
        list(run(lambda i: 1 / (6 - i), range(7)))
