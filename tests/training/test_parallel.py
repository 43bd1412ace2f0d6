"""Several processes train the same network as one: real processes, started by torchrun and on Dask
workers.
"""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from tests.commands import done
from tests.support.memory_reader import SIX_EACH, planted
from xpscale.errors import ConflictError, PermanentError, PlanError, TryAgainError
from xpscale.ingest.build import build_store
from xpscale.model.architectures import build
from xpscale.model.checkpoint import load_model
from xpscale.runtime.executors.dask import local_cluster
from xpscale.runtime.executors.worker_group import WorkerGroup
from xpscale.training.flat import FlatParameters
from xpscale.training.job import TrainingJob
from xpscale.training.loop import Progress
from xpscale.training.metrics import EpochMetrics
from xpscale.training.on_workers import train_on_workers
from xpscale.training.run import train
from xpscale.training.session import CHECKPOINT, HISTORY
from xpscale.training.settings import TrainingSettings

PAPER = {
    "network": "scatter_vae",
    "masked_fraction": 0.0,
    "added_noise": 0.0,
    "free_nats": 0.0,
    "hidden": (16, 8),
}
SETTINGS = TrainingSettings(epochs=3, batch_size=256, n_latents=3, hidden=(10, 10), seed=7)
KINDS = {
    "paper": replace(SETTINGS, **PAPER),  # batch normalization over both processes
    # in so few steps the loss of the default network, and of Muon, depends on the order of the
    # batches by more than is allowed here
    "streamed": replace(
        SETTINGS,
        max_rows=1500,
        epochs=4,
        learning_rate=1e-2,
        network="noise_aware",
        hidden=(10, 6),
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    where = str(tmp_path_factory.mktemp("parallel") / "store")
    return build_store(
        [("all", planted(4000))], where, attributes={"origin": "planted"}, max_rows=200
    )


def toml(path, settings):
    values = settings.to_dict()
    words = {True: "true", False: "false"}
    lines = [f"{k} = {words[v] if isinstance(v, bool) else repr(v)}" for k, v in values.items()]
    path.write_text("\n".join(["[training]", *lines]))
    return path


def torchrun(n, *words):
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(n),
        "-m",
        "xpscale",
        *words,
    ]


def losses(folder, name):
    with (folder / HISTORY).open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_of_torchrun_have_the_loss_of_one(store, tmp_path, kind):
    settings = KINDS[kind]
    train(store, str(tmp_path / "one"), settings)
    command = torchrun(
        2, "train", store.url, tmp_path / "two", "--settings", toml(tmp_path / "s.toml", settings)
    )
    ended = subprocess.run(
        [str(word) for word in command], capture_output=True, timeout=300, text=True
    )
    assert ended.returncode == 0, ended.stderr
    for words in (f"epoch    1/{settings.epochs}", "sources of "):
        assert ended.stderr.count(words) == 1  # only the first process talks
    # in memory the batches are the same, and only the order of sums differs; streams have other
    # batches.  Biases before a batch normalization have no gradient but rounding, which Adam makes
    # steps of: it shows when statistics are held
    within = {"paper": (1e-5, 5e-3), "streamed": (0.05, 0.05)}[kind]
    for name, tolerance in zip(("loss", "held_out_loss"), within, strict=True):
        assert losses(tmp_path / "two", name) == pytest.approx(
            losses(tmp_path / "one", name), rel=tolerance
        )
    card = load_model(str(tmp_path / "two")).card
    assert card.data["n_processes"] == 2
    with pytest.raises(ConflictError, match="n_processes 2 there, 1 here"):
        train(store, str(tmp_path / "two"), settings)


@pytest.mark.slow
def test_dask_workers_train_together_and_a_lost_one_costs_nothing(store, tmp_path):
    settings = replace(SETTINGS, epochs=6)
    steps, epochs = [], []
    with local_cluster(2) as client:
        both = WorkerGroup(client, 2)
        listen = {"on_step": steps.append, "on_epoch": epochs.append}
        with pytest.raises(PlanError, match="3 worker processes are needed, and 2"):
            train_on_workers(
                WorkerGroup(client, 3), TrainingJob(store, str(tmp_path / "m"), settings)
            )
        model = train_on_workers(
            both, TrainingJob(store, str(tmp_path / "whole"), settings), **listen
        )
        assert [metrics.epoch for metrics in epochs] == list(range(1, 7))
        assert all(isinstance(metrics, EpochMetrics) for metrics in epochs)
        assert all(isinstance(progress, Progress) for progress in steps)

        victims = sorted(client.run(os.getpid).values())

        def kill_one(metrics):
            if metrics.epoch == 3:
                os.kill(victims[-1], signal.SIGKILL)

        broken = TrainingJob(store, str(tmp_path / "broken"), settings, checkpoint_every_s=0)
        with pytest.raises(TryAgainError):
            train_on_workers(both, broken, on_epoch=kill_one)
        assert (tmp_path / "broken" / CHECKPOINT).exists()
        deadline = time.monotonic() + 60
        while len(client.nthreads()) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        resumed = train_on_workers(both, broken)
        wild = replace(settings, learning_rate=1e30, schedule="restarts")
        with pytest.raises(
            PermanentError, match="not finite in epoch 1, batch 1"
        ):  # not that the other one is gone
            train_on_workers(both, TrainingJob(store, str(tmp_path / "wild"), wild))
    assert resumed.model_id == model.model_id
    one = train(store, str(tmp_path / "one"), settings)
    for name in ("held_out_loss", "loss"):
        assert model.card.metrics[name] == pytest.approx(one.card.metrics[name], rel=1e-3)


def test_the_command_trains_on_worker_processes(store, tmp_path):
    settings = toml(tmp_path / "s.toml", replace(SETTINGS, epochs=1))
    result = done("train", store.url, tmp_path / "m", "--settings", settings, "--workers", 2)
    assert "epoch    1/1  loss" in result.err
    assert "model" in result.err
    assert load_model(str(tmp_path / "m")).card.data["n_processes"] == 2


def test_flat_parameters_are_the_networks():
    torch.manual_seed(0)
    network = build(SETTINGS.architecture(SIX_EACH))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    flat = FlatParameters(network)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    cost = sum(parameter.square().sum() for parameter in network.parameters())
    found = flat.gradient(cost, torch.ones(2))
    torch.testing.assert_close(found[:-2], 2 * flat.vector.detach())
    assert found[-2:].tolist() == [1, 1]
    network.load_state_dict({name: torch.ones_like(tensor) for name, tensor in before.items()})
    assert flat.vector.detach().eq(1).all()
