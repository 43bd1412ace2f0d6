"""Damage files of every kind at random and open them, in a process that watches itself.

    python -m tests.untrusted.fuzz FOLDER N SEED

Prints a JSON object: how many openings ended in success and in one clear error, everything that
ended otherwise, files outside FOLDER that were opened for writing or lie beside it, and by how much
the memory of the process grew beyond that of opening the sound files.
"""

import json
import resource
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree

import numpy as np

import xpscale as xps
from tests.support.archive_files import write_archive
from tests.support.datalink_files import source_table_bytes, spectra_bytes, write_hdf5_copies
from tests.support.parquet_files import write_parquet_files
from xpscale.errors import XpscaleError
from xpscale.testing.universe import Universe
from xpscale.training.settings import TrainingSettings

NASTY = (
    None, -1, 0, 1e30, 10**30, float("nan"), True, "", "../../secret", "/etc/passwd", "\x1b[31m",
    "x" * 5_000, [], {}, [[]], ["../secret"], {"a": {"b": []}}, 2**63, "1e400",
)  # fmt: skip


def damaged_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, cut off, put in or doubled."""
    changed, how = bytearray(data), int(rng.integers(4))
    at = int(rng.integers(max(len(data), 1)))
    if how == 0:
        for place in rng.integers(len(data), size=int(rng.integers(1, 9))):
            changed[place] = int(rng.integers(256))
    elif how == 1:
        del changed[at:]
    elif how == 2:
        changed[at:at] = rng.bytes(int(rng.integers(1, 200)))
    else:
        changed[at:at] = changed[at : at + int(rng.integers(1, 5_000))]
    return bytes(changed)


def damaged_json(data: bytes, rng: np.random.Generator) -> bytes:
    """One value of a document replaced by one that nobody expects, or left out."""
    document = json.loads(data)
    node, key = document, None
    while isinstance(node, dict | list) and node and (key is None or rng.random() < 0.8):
        parent = node
        key = (
            list(node)[int(rng.integers(len(node)))]
            if isinstance(node, dict)
            else int(rng.integers(len(node)))
        )
        node = parent[key]
    if rng.random() < 0.2:
        del parent[key]
    else:
        parent[key] = NASTY[int(rng.integers(len(NASTY)))]
    return json.dumps(document).encode()


def make_sound_files(folder: Path) -> None:
    """A store, a model, a catalogue, and spectra as others have them."""
    batch = Universe(300, seed=3).spectra()
    store = xps.build_store([("made", batch)], str(folder / "store"), attributes={})
    xps.train(store, str(folder / "model"), TrainingSettings(epochs=1, hidden=(4,), n_latents=2))
    xps.infer(str(folder / "store"), str(folder / "model"), str(folder / "catalog"))
    write_parquet_files(batch, str(folder / "parquet"))
    write_archive(Universe(300, seed=3), str(folder / "archive"), n_files=1)
    write_hdf5_copies(batch, str(folder / "hdf5"), n_files=1)
    (folder / "zip").mkdir()
    (folder / "zip" / "spectra.zip").write_bytes(spectra_bytes(batch, "zip"))
    (folder / "zip" / "sources.csv").write_bytes(source_table_bytes(batch, "csv"))


def openings(folder: Path) -> dict[str, tuple[str, bool, Callable[[], object]]]:
    """By kind: the file that is damaged, whether it is JSON, and what opens it."""

    def ask() -> object:
        from xpscale.catalog.check import check
        from xpscale.storage import Storage

        catalog = xps.open_catalog(str(folder / "catalog"))
        return catalog.select().head(5).to_table(), check(Storage(str(folder / "catalog")))

    def ingest(place: str) -> Callable[[], object]:
        def run() -> object:
            rmtree(folder / "made", ignore_errors=True)
            return xps.run_ingest(xps.plan_ingest(str(folder / place), str(folder / "made")))

        return run

    def only(pattern: str) -> str:
        found = sorted(folder.glob(pattern))
        return str(found[0].relative_to(folder))

    def status() -> object:
        from xpscale.inference.status import run_status

        return run_status(str(folder / "catalog"))

    part, leaf = only("catalog/latents/dataset/*/*/*.parquet"), only("parquet/*.parquet")
    table = only("archive/xp_continuous_mean_spectrum/*.csv.gz")
    return {
        "card": ("model/card.json", True, lambda: xps.load_model(str(folder / "model"))),
        "weights": (
            "model/model.safetensors", False, lambda: xps.load_model(str(folder / "model")),
        ),
        "manifest": (only("catalog/_xpscale/manifests/*.json"), True, ask),
        "snapshot": (only("catalog/_xpscale/snapshots/*.json"), True, ask),
        "run": ("catalog/_xpscale/run.json", True, ask),
        "report": (only("catalog/_xpscale/ledger/*/*.json"), True, status),
        "part": (part, False, ask),
        "store": ("store/zarr.json", True, lambda: xps.open_store(str(folder / "store")).n_rows),
        "zip": ("zip/spectra.zip", False, ingest("zip")),
        "HDF5": (only("hdf5/Xp*.hdf5"), False, ingest("hdf5")),
        "Parquet": (leaf, False, ingest("parquet")),
        "CSV": (table, False, ingest("archive")),
    }  # fmt: skip


def main(folder: Path, n: int, seed: int) -> None:
    """Damage, open, report."""
    place = folder / "inside"
    make_sound_files(place)
    (folder / "secret").write_text("nobody reads this")
    sound = folder / "inside-sound"
    copytree(place, sound)
    kinds = openings(place)
    ends, faults, reached = Counter(), [], set()
    for _, _, function in kinds.values():
        function()  # what sound files take
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | Path):
            path = Path(str(arguments[0])).absolute()
            writes = isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
            is_inside = path.is_relative_to(place)
            if not is_inside and (path.is_relative_to(folder) or (writes and path.is_file())):
                reached.add(str(path))

    sys.addaudithook(watch)
    (folder / "secret").read_text()
    assert reached == {str(folder / "secret")}, "the watch sees nothing"
    reached.clear()
    rng = np.random.default_rng(seed)
    for kind, (name, is_json, function) in kinds.items():
        data = (place / name).read_bytes()
        for number in range(n):
            damage = damaged_json if is_json and rng.random() < 0.8 else damaged_bytes
            (place / name).write_bytes(damage(data, rng))
            try:
                function()
                ends["success"] += 1
            except XpscaleError as error:
                ends["error"] += 1
                if not str(error).isprintable() and set(str(error)) & {"\x1b", "\r"}:
                    faults.append(f"{kind} {number}: control characters in {str(error)!r}")
            except BaseException as error:
                faults.append(f"{kind} {number}: {type(error).__name__}: {error}"[:300])
        (place / name).write_bytes(data)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        json.dumps({"ends": ends, "faults": faults, "reached": sorted(reached), "grown_kb": grown})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
