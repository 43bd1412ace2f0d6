"""A settings file is typed, names what is wrong in it, and holds no secret."""

import re
from dataclasses import fields
from importlib.resources import files

import pytest

from tests.commands import done, xpscale
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.settings.cluster import KINDS, Local, Running
from xpscale.settings.file import load_cluster, load_settings
from xpscale.settings.slurm import Slurm, walltime_seconds

SECRET = "wJalrXUtnFEMI"


def write(folder, text, name="s.toml"):
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_init_writes_is_sound_also_with_every_key_used(kind, tmp_path, monkeypatch):
    path = tmp_path / "dr3.toml"
    done("settings", "init", path, "--kind", kind)
    assert done("settings", "check", path).out == "sound\n"
    assert load_settings(path).cluster == load_cluster(str(path))
    text = path.read_text()
    assert xpscale("settings", "init", path).code == 5  # nothing is replaced unasked
    assert path.read_text() == text
    used = re.sub(r"^# (\[|\w+ = )", r"\1", text, flags=re.MULTILINE)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    assert done("settings", "check", write(tmp_path, used)).out == "sound\n"
    table = files("xpscale.settings").joinpath(f"{kind}.toml").read_text()
    assert all(
        f"{each.name} = " in table
        for each in fields(KINDS[kind])
        if each.name != "client" and each.name != "processes"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[data]\nstor = 's'", r"s.toml: \[data\] has the key 'stor'.*Did you mean 'store'"),
        ("[data]\nstore = 1", r"\[data\]: store is 1. Give a text"),
        ("store = 's'\n[data]", "store stands before the first table"),
        ("[cluster]\nkind = 'pbs'", "kind is 'pbs'.*local, scheduler, slurm, kubernetes"),
        ("[cluster]\nworkers = 2.5", r"\[cluster\]: workers is 2.5. Give a whole number"),
        ("[cluster]\nkind = 'scheduler'", "lacks address"),
        ("[cluster]\nkind = 'slurm'\nworkers = true", "workers is True"),
        ("[cluster]\nkind = 'slurm'\nwalltime = '2h'", "walltime is '2h'"),
        ("[cluster]\nkind = 'slurm'\nwalltime = '1:30'", "more than grace = 120"),
        ("[cluster]\nkind = 'slurm'\nmemory = '4'", "memory is '4'.*16GB"),
        ("[cluster]\nkind = 'slurm'\nminimum = 9", "minimum is 9. Give at most workers = 4"),
        ("[cluster]\nkind = 'slurm'\ndirectives = ['rm']", "directives is 'rm'"),
        ("[cluster]\nkind = 'slurm'\n[cluster.client]\ncore = 1", r"\[cluster.client\] has the"),
        ("[clusters.gpu]\nkind = 'slurm'\ngpus = 4", r"\[clusters.gpu\]: gpus is 4. Give 0 to 1"),
        ("[cluster]\nkind = 'slurm'\ngpus = -1", "gpus is -1"),
        ("[infer]\noutput = 'x'", r"\[infer\] has the key 'output'.*Did you mean 'outputs'"),
        ("[infer]\nskip_damaged = 'yes'", r"\[infer\]: skip_damaged is 'yes'. Give true or false"),
        ("[archive.fetch]\nconnections = '4'", r"\[archive.fetch\]: connections is '4'"),
        ("[inferr]\noutputs = 'x'", "has the key 'inferr'.*Did you mean 'infer'"),
        ("[archive]\nfetchh = 1", r"\[archive\] has the key 'fetchh'"),
        ("[training]\nepoch = 1", "'epoch' is not known.*Did you mean 'epochs'"),
        ("[credentials]\nvariables = ['NO_SUCH_VARIABLE']", "not set: NO_SUCH_VARIABLE"),
        ("[data", "is not TOML"),
        (f"a = {'[' * 20_000}", "has more than 1,000,000 bytes"),
        (f"{'a.' * 2_000}b = 1", "has more than 1,000,000 bytes"),
        (f"[data]\nstore = '{'x' * 2_000_000}'", "has more than 1,000,000 bytes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_file_and_key(text, told, tmp_path):
    result = xpscale("settings", "check", write(tmp_path, text))
    assert result.code == 2
    assert re.search(told, result.err.replace("\n ", "."), re.DOTALL), result.err
    assert len(result.err.splitlines()) <= 2


@pytest.mark.parametrize(
    "text",
    [
        f"[credentials]\naws_secret_access_key = '{SECRET}'",
        f"[credentials]\nvariables = ['{SECRET}']",
        f"[data]\nstore = 's3://key:{SECRET}@bucket/store'",
        f"[data]\nstore = 'https://host/x?X-Amz-Signature={SECRET}'",
        f"[infer]\npassword = '{SECRET}'",
        f"[cluster]\nkind = 'slurm'\nsetup = ['export AWS_SECRET_ACCESS_KEY={SECRET}']",
        f"[cluster]\nkind = 'slurm'\nsetup = ['A=1 MY_TOKEN=\"{SECRET}\" x']",
        f"[cluster]\nkind = 'scheduler'\naddress = 'tls://me:{SECRET}@host:1'",
        "[data]\narchive = 'AKIAABCDEFGHIJKLMNOP'",
    ],
)
def test_a_secret_is_refused_and_not_repeated(text, tmp_path):
    result = xpscale("settings", "check", write(tmp_path, text))
    assert result.code == 2
    assert "s.toml" in result.err
    assert SECRET not in result.err + result.out
    assert "AKIA" not in result.err


def test_references_to_secrets_are_no_secrets(tmp_path):
    text = """
    [credentials]
    profile = "gaia"
    file = "~/.aws/credentials"
    [cluster]
    kind = "slurm"
    setup = ["export AWS_SECRET_ACCESS_KEY=$MINE", "export TOKEN_FILE=/run/token", "module load x"]
    """
    assert done("settings", "check", write(tmp_path, text)).out == "sound\n"


def test_a_cluster_is_found_by_file_and_name(tmp_path):
    path = write(
        tmp_path,
        "[cluster]\nworkers = 3\n[clusters.gpu]\nkind = 'slurm'\ngpus = 1\nwalltime = '1-0'",
    )
    assert load_cluster("") == load_cluster("local") == Local()
    assert load_cluster(path) == Local(3)
    gpu = load_cluster(f"{path}:gpu")
    assert isinstance(gpu, Slurm)
    assert gpu.worker_seconds == 86_400 - gpu.grace
    with pytest.raises(InvalidInputError, match=r"no table \[clusters.cpu\]. Known are local, gpu"):
        load_cluster(f"{path}:cpu")
    with pytest.raises(InvalidInputError, match="no TOML file and no cluster of the settings"):
        load_cluster("gpu")
    with pytest.raises(NotFoundError, match="does not exist"):
        load_cluster("none.toml")
    kubernetes = load_cluster(write(tmp_path, "[cluster]\nkind = 'kubernetes'\nnamespace = 'n'"))
    assert kubernetes.running == Running("tcp://xpscale-scheduler.n.svc:8786")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5_400), ("1:30", 90), ("02:00:00", 7_200), ("1-12", 129_600), ("2-03:04:05", 183_845)],
)
def test_walltimes_are_read_as_slurm_does(text, seconds):
    assert walltime_seconds(text) == seconds
