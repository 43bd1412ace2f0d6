"""Memory of a worker process against what a plan promises: every network, all outputs and latents
alone, partitions of tens of thousands and of 2,000 sources."""

from __future__ import annotations

import tempfile

from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run_inference
from xpscale.ingest.build import build_store
from xpscale.model.architectures import ARCHITECTURES, build
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.schema import OUTPUTS
from xpscale.storage import Storage
from xpscale.store.open import open_spectra
from xpscale.store.reader import SpectraReader
from xpscale.testing.universe import Universe

WIDTHS = {"transformer": (32, 32)}
SIZES = {"of order 0": (300_000, 1_000_000), "of up to 2,000": (12_000, 2_000)}


def main() -> None:
    """Print the table."""
    print("| partitions | network | outputs | peak, MB | stated, MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, (n_rows, max_rows) in SIZES.items():
            batch = Universe(n_rows, seed=3).spectra()
            store = f"{folder}/store-{max_rows}"
            build_store([("all", batch)], store, attributes={"origin": name}, max_rows=max_rows)
            for network in ARCHITECTURES:
                _measure(name, network, open_spectra(store))


def _measure(name: str, network: str, reader: SpectraReader) -> None:
    widths = {"hidden": WIDTHS[network]} if network in WIDTHS else {}
    net = build(Architecture(reader.bands, name=network, **widths)).eval()
    batch = next(iter(reader.read(partition) for partition in reader.partitions))
    scaling = Scaling.fit([batch])
    model = TrainedModel.create(
        net, scaling, TrainingDensity.unknown(reader.bands), ModelCard(net.architecture)
    )
    for outputs in (("latents",), OUTPUTS):
        with tempfile.TemporaryDirectory() as folder:
            plan = plan_inference(reader, model, Storage(f"{folder}/catalog"), outputs=outputs)
            with local_cluster(1, 2) as client:
                report = run_inference(plan, executor=DaskExecutor(client), device="cpu")
            peak, stated = report.peak_memory / 1e6, plan.projection.worker_memory / 1e6
            print(f"| {name} | {network} | {outputs[-1]} | {peak:.0f} | {stated:.0f} |", flush=True)


if __name__ == "__main__":
    main()
