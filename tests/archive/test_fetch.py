"""Fetching archive files from servers that fail in every way, and verifying what came."""

import email.utils
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.archive.faulty_web import Fault, faulty_web
from tests.support.archive_files import write_archive
from tests.support.services import seaweedfs
from xpscale.archive import transfer
from xpscale.archive.fetch import plan_fetch, run_fetch
from xpscale.archive.verify import verify_archive
from xpscale.errors import (
    IncompleteError,
    InvalidInputError,
    NotFoundError,
    PermanentError,
    PlanError,
    TryAgainError,
)
from xpscale.storage import Storage
from xpscale.testing.universe import Universe

XP, SOURCE = "xp_continuous_mean_spectrum", "gaia_source"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three pairs of files."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(Universe(300, seed=7), str(folder), n_files=3)
    return folder


@pytest.fixture
def web(archive, monkeypatch):
    """A server of them, without the patience that a real one deserves."""
    monkeypatch.setattr(transfer, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(transfer, "N_TRIES", 4)
    with faulty_web(archive) as server:
        yield server


@pytest.fixture
def key(archive):
    """The name of one spectrum file."""
    return contents(archive)[-2]


def contents(folder):
    """Names of the archive files in a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).glob("*/*.csv.gz"))


def fetch(web, to, **options):
    return run_fetch(plan_fetch(web.url, str(to), **options))


def assert_equal(archive, to, keys=None):
    """The folders hold the same files with the same bytes, sums included, and nothing
    unfinished.
    """
    keys = contents(archive) if keys is None else keys
    assert contents(to) == keys
    assert all((to / key).read_bytes() == (archive / key).read_bytes() for key in keys)
    assert verify_archive(str(to)).ok
    assert not list(to.glob("*/*.part"))


# -- what goes well


def test_a_fetch_is_the_archive_and_a_second_one_asks_for_nothing(web, archive, tmp_path):
    to = tmp_path / "to"
    plan = plan_fetch(web.url, str(to))
    size = sum((archive / key).stat().st_size for key in contents(archive))
    assert (plan.n_bytes, plan.needed_bytes, len(plan.missing)) == (size, size, 6)
    assert "fetch 6 of 6 files" in str(plan)
    assert not to.exists()  # a plan touches nothing
    seen = []
    report = run_fetch(plan, progress=seen.append)
    assert (report.n_fetched, report.n_found, report.n_bytes, report.n_faults) == (6, 0, size, 0)
    assert (seen[-1].n_files_done, seen[-1].n_bytes_done, seen[-1].n_bytes) == (6, size, size)
    assert_equal(archive, to)
    for folder in (XP, SOURCE):
        assert (to / folder / "_MD5SUM.txt").read_text() == (
            archive / folder / "_MD5SUM.txt"
        ).read_text()
    web.forget()
    again = fetch(web, to)
    assert (again.n_fetched, again.n_found, again.n_bytes) == (0, 6, 0)
    assert web.n_heads == 0
    assert set(web.sent) == {f"{XP}/_MD5SUM.txt", f"{SOURCE}/_MD5SUM.txt"}


def test_pixels_and_tables_choose_files_and_later_choices_add_to_them(web, archive, tmp_path):
    keys = contents(archive)
    first, middle, _ = (key for key in keys if key.startswith(XP))
    border = int(middle[-20:-14])  # first pixel of the middle file
    fetch(web, tmp_path, tables=["xp"], pixels=(border, border))
    assert contents(tmp_path) == [middle]
    fetch(web, tmp_path, tables=["xp"], pixels=(border - 1, border - 1))
    assert contents(tmp_path) == [first, middle]
    assert verify_archive(str(tmp_path)).problems == ("gaia_source/ is missing",)
    web.forget()
    assert fetch(web, tmp_path).n_found == 2
    assert not web.sent[first]
    assert_equal(archive, tmp_path)
    with pytest.raises(NotFoundError, match="holds pixels"):
        plan_fetch(web.url, str(tmp_path), pixels=(786_432, 786_433))


def test_files_come_in_parallel(web, archive, tmp_path):
    barrier = threading.Barrier(3)
    web.always["*"] = Fault(wait=barrier)  # nobody goes on until three requests are there
    run_fetch(plan_fetch(web.url, str(tmp_path)), n_connections=3)
    assert_equal(archive, tmp_path)


def test_folders_as_on_esas_server(archive, tmp_path):
    esa = tmp_path / "gdr3"
    shutil.copytree(archive / SOURCE, esa / SOURCE)
    shutil.copytree(archive / XP, esa / "Spectroscopy" / XP)
    with faulty_web(esa) as web:
        fetch(web, tmp_path / "to")
    assert_equal(archive, tmp_path / "to")


def test_from_a_folder_even_onto_itself(archive, tmp_path):
    report = run_fetch(plan_fetch(str(archive), str(tmp_path / "to")))
    assert report.n_fetched == 6
    assert_equal(archive, tmp_path / "to")
    itself = shutil.copytree(archive, tmp_path / "itself")
    assert run_fetch(plan_fetch(str(itself), str(itself))).n_found == 6


def test_an_archive_without_sums_is_judged_by_sizes(archive, tmp_path, key):
    bare = shutil.copytree(archive, tmp_path / "bare", ignore=shutil.ignore_patterns("_MD5SUM.txt"))
    to = tmp_path / "to"
    run_fetch(plan_fetch(str(bare), str(to)))
    assert contents(to) == contents(archive)
    assert not list(to.glob("*/_MD5SUM.txt"))
    assert run_fetch(plan_fetch(str(bare), str(to))).n_found == 6
    (to / key).write_bytes((bare / key).read_bytes()[:-1])
    assert run_fetch(plan_fetch(str(bare), str(to))).n_fetched == 1
    assert (
        sum(
            "nothing in there can be verified" in problem
            for problem in verify_archive(str(to)).problems
        )
        == 2
    )


@pytest.mark.s3
def test_from_s3_and_on_from_a_part(archive, tmp_path, key):
    with seaweedfs(tmp_path / "s3") as s3, s3.apply():
        bucket = Storage("s3://xpscale/mirror")
        for name in (*contents(archive), f"{XP}/_MD5SUM.txt", f"{SOURCE}/_MD5SUM.txt"):
            bucket.replace(name, (archive / name).read_bytes())
        assert verify_archive(bucket.url).ok
        to = tmp_path / "to"
        (to / key).parent.mkdir(parents=True)
        data = (archive / key).read_bytes()
        (to / f"{key}.part").write_bytes(data[: len(data) // 2])
        total = sum((archive / key).stat().st_size for key in contents(archive))
        assert run_fetch(plan_fetch(bucket.url, str(to))).n_bytes == total - len(data) // 2
        assert_equal(archive, to)


# -- what goes wrong and comes right


DROPS = [Fault(drop_after=5_000)] * 4


@pytest.mark.parametrize(
    ("faults", "cost", "n_faults"),
    [
        pytest.param([*DROPS, Fault(drop_after=0), Fault(drop_after=7_000)], 1.0, 6, id="drops"),
        pytest.param([Fault(declared=1_000)], 1.0, 0, id="promises too much"),
        pytest.param([Fault(declared=-1_000)], 1.0, 1, id="promises too little"),
        pytest.param(
            [Fault(drop_after=5_000), Fault(ignore_range=True)], 1.0, 1, id="ignores ranges"
        ),
        pytest.param([Fault(wrong_byte=True)], 2.0, 0, id="wrong byte"),
        pytest.param(
            [Fault(drop_after=5_000), Fault(wrong_byte=True)], 2.0, 1, id="wrong byte behind a drop"
        ),
        pytest.param([Fault(status=503), Fault(status=502), Fault(status=429)], 1.0, 3, id="busy"),
    ],
)
def test_faults_are_overcome_and_cost_no_more_than_they_must(
    web, archive, tmp_path, key, faults, cost, n_faults
):
    web.once[key].extend(faults)
    assert fetch(web, tmp_path).n_faults == n_faults
    assert_equal(archive, tmp_path)
    lost = 5_000 if any(fault.ignore_range for fault in faults) else 0
    assert web.sent[key] == cost * (archive / key).stat().st_size + lost


@pytest.mark.parametrize(
    "head", [Fault(status=405), Fault(declared=50_000), Fault(declared=-1_000)]
)
def test_sizes_may_be_wrong_or_missing(web, archive, tmp_path, head):
    web.heads["*"] = head
    plan = plan_fetch(web.url, str(tmp_path))
    assert ("6 of unknown size" in str(plan)) == bool(head.status)
    run_fetch(plan)
    assert_equal(archive, tmp_path)


@pytest.mark.parametrize("status", [503, 429])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(web, archive, tmp_path, key, status, form):
    asked_s = 1 if form == "seconds" else 2  # a date has whole seconds
    date = email.utils.formatdate(time.time() + asked_s, usegmt=True)
    web.once[key].append(Fault(status=status, retry_after="1" if form == "seconds" else date))
    started = time.monotonic()
    report = fetch(web, tmp_path, tables=["xp"])
    assert time.monotonic() - started > 0.9
    assert report.n_faults == 1


def test_a_part_is_gone_on_with_if_it_is_of_use(web, archive, tmp_path, key):
    data = (archive / key).read_bytes()
    part = tmp_path / f"{key}.part"
    for bytes_there, sent, starts in (
        (data[:20_000], len(data) - 20_000, [20_000]),
        (data, 0, []),
        (data + b"more", len(data), [0]),
        (data[:-1] + b"?", len(data), [0]),
        (
            b"?" * 20_000,
            2 * len(data) - 20_000,
            [20_000, 0],
        ),  # only the whole shows that the start is wrong
    ):
        shutil.rmtree(tmp_path)
        part.parent.mkdir(parents=True)
        part.write_bytes(bytes_there)
        web.forget()
        plan = plan_fetch(web.url, str(tmp_path), tables=["xp"])
        assert plan.part_bytes == (len(bytes_there) if len(bytes_there) <= len(data) else 0)
        run_fetch(plan)
        assert (web.sent[key], web.ranges[key]) == (sent, starts)
        assert (tmp_path / key).read_bytes() == data


def test_a_file_that_was_spoilt_since_is_fetched_again(web, archive, tmp_path, key):
    fetch(web, tmp_path)
    for damage in (lambda data: data[:-5], lambda data: data[:-1] + bytes([data[-1] ^ 1])):
        (tmp_path / key).write_bytes(damage((archive / key).read_bytes()))
        web.forget()
        report = fetch(web, tmp_path)
        assert (report.n_fetched, report.n_bytes) == (1, (archive / key).stat().st_size)
        assert_equal(archive, tmp_path)


def test_files_that_came_another_way_are_verified_not_fetched(web, archive, tmp_path, key):
    (tmp_path / key).parent.mkdir()
    shutil.copy(archive / key, tmp_path / key)
    report = fetch(web, tmp_path)
    assert (report.n_fetched, report.n_found, web.sent[key]) == (5, 1, 0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_fetch_is_resumed_without_sending_a_byte_twice(web, archive, tmp_path, key, how):
    released = threading.Event()
    web.once[key].append(Fault(wait=released, wait_after=30_000))
    main = "from xpscale.cli.main import main; main()"
    command = [sys.executable, "-c", main, "archive", "fetch", web.url, str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        part = tmp_path / f"{key}.part"
        give_up = time.monotonic() + 30
        while not (
            part.is_file() and part.stat().st_size == 30_000 and len(contents(tmp_path)) == 5
        ):
            assert time.monotonic() < give_up, process.stderr.read()
            time.sleep(0.02)
        with pytest.raises(TryAgainError, match="another process is fetching"):
            fetch(web, tmp_path)
        killed = time.monotonic()
        process.send_signal(how)
        process.communicate(timeout=20)
        # the server is silent, and nobody waits for it
        assert time.monotonic() - killed < 5
        assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    finally:
        process.kill()
    web.once.clear()
    report = fetch(web, tmp_path)
    released.set()
    size = (archive / key).stat().st_size
    assert (report.n_fetched, report.n_found, report.n_bytes) == (1, 5, size - 30_000)
    assert web.ranges[key] == [0, 30_000]
    assert_equal(archive, tmp_path)


# -- what stays wrong


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault(wrong_byte=True), InvalidInputError, "came twice with MD5"),
        (Fault(status=404), NotFoundError, "404"),
        (Fault(status=403), InvalidInputError, "403"),
        (Fault(status=500), TryAgainError, r"500 .*\(4 tries in a row\)"),
        (Fault(status=503, retry_after="86400"), TryAgainError, "asking to come back in 86,400 s"),
        (Fault(drop_after=9_000, ignore_range=True), TryAgainError, "4 tries in a row"),
    ],
)
def test_one_bad_file_is_named_and_the_others_come(
    web, archive, tmp_path, key, fault, error, words
):
    web.always[key] = fault
    with pytest.raises(error, match=words) as raised:
        fetch(web, tmp_path)
    assert type(raised.value) is error
    assert key in str(raised.value)
    assert "1 of 6 files failed" in str(raised.value)
    assert contents(tmp_path) == [other for other in contents(archive) if other != key]
    assert len(list(tmp_path.glob("*/*.part"))) == bool(fault.drop_after > 0)
    if fault.wrong_byte:
        assert web.sent[key] == 2 * (archive / key).stat().st_size
    check = verify_archive(str(tmp_path))
    assert any(f"{key} is missing" in problem for problem in check.problems)
    web.forget()
    fetch(web, tmp_path)
    assert_equal(archive, tmp_path)


def test_several_reasons_make_it_incomplete(web, archive, tmp_path):
    one, other = contents(archive)[:2]
    web.always[one], web.always[other] = Fault(status=404), Fault(wrong_byte=True)
    with pytest.raises(IncompleteError, match="2 of 6 files failed") as raised:
        fetch(web, tmp_path)
    assert one in str(raised.value)
    assert other in str(raised.value)


def test_a_server_that_is_gone_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(transfer, "N_TRIES", 2)
    write_archive(Universe(300, seed=7), str(tmp_path / "archive"), n_files=12)
    with faulty_web(tmp_path / "archive") as web:
        web.always["*"] = Fault(status=500)
        plan = plan_fetch(web.url, str(tmp_path / "to"))
        with pytest.raises(TryAgainError, match="8 of 24 files failed"):
            run_fetch(plan, n_connections=1)
    plan = plan_fetch(str(tmp_path / "archive"), str(tmp_path / "to"))
    shutil.rmtree(tmp_path / "archive")
    with pytest.raises(NotFoundError, match="24 of 24 files failed"):
        run_fetch(plan)


def test_a_disk_too_small_is_refused_before_anything_is_sent(web, tmp_path, key):
    web.heads[key] = Fault(declared=10**18)
    with pytest.raises(PlanError, match=r"need 1,000,000\.0 TB, and .* has .*[GT]B free"):
        plan_fetch(web.url, str(tmp_path / "to"))
    assert not (tmp_path / "to").exists()
    assert not web.sent[key]


def test_a_place_that_cannot_be_written_ends_the_fetch(web, tmp_path, key):
    (tmp_path / f"{key}.part").mkdir(parents=True)
    with pytest.raises(PermanentError, match=f"{key}.part cannot be written: Is a directory"):
        fetch(web, tmp_path)
    with pytest.raises(InvalidInputError, match="local folder"):
        plan_fetch(web.url, "s3://bucket/prefix")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="is a file"):
        plan_fetch(web.url, str(tmp_path / "file"))


# -- verify


def test_verify_names_everything_that_is_wrong(archive, tmp_path):
    folder = Path(shutil.copytree(archive, tmp_path / "archive"))
    sound = verify_archive(str(folder))
    size = sum((archive / key).stat().st_size for key in contents(archive))
    assert (sound.ok, sound.n_files, sound.n_pairs, sound.n_bytes) == (True, 6, 3, size)
    sources, spectra = [
        [key for key in contents(folder) if key.startswith(table)] for table in (SOURCE, XP)
    ]
    flipped = folder / spectra[0]
    data = bytearray(flipped.read_bytes())
    data[100] ^= 1
    flipped.write_bytes(data)
    (folder / spectra[1]).rename(folder / SOURCE / Path(spectra[1]).name)
    (folder / sources[2]).unlink()
    range_of = sources[0][-20:-7]
    inside = f"{XP}/XpContinuousMeanSpectrum_{range_of[:6]}-{range_of[:6]}.csv.gz"
    (folder / inside).write_bytes(b"")
    (folder / XP / "XpContinuousMeanSpectrum_000009-000001.csv.gz").touch()
    (folder / XP / "notes.txt").touch()
    (folder / f"{spectra[2]}.part").touch()
    os.utime(folder / sources[0])
    found = verify_archive(str(folder))
    problems = "\n".join(found.problems)
    for words in (
        f"{spectra[0]} ({len(data):,} bytes) has MD5",
        f"{SOURCE}/{Path(spectra[1]).name} is in the wrong folder",
        f"{spectra[1]} is missing",
        f"{sources[2]} is missing",
        f"{spectra[2]} has no partner in {SOURCE}/",
        f"{sources[1]} has no partner in {XP}/",
        f"overlap in pixels {int(range_of[:6])}-{int(range_of[:6])}",
        f"{inside} is not in _MD5SUM.txt",
        f"{inside} has no partner",
        "000009-000001.csv.gz has no range",
        "notes.txt is not named",
        f"{spectra[2]}.part is an unfinished download",
    ):
        assert words in problems
    assert len(found.problems) == 12
    assert (found.n_files, found.n_pairs) == (5, 1)


def test_verify_refuses_what_is_no_archive(tmp_path, web):
    with pytest.raises(NotFoundError, match="holds no archive file"):
        verify_archive(str(tmp_path))
    with pytest.raises(InvalidInputError, match="cannot be listed"):
        verify_archive(web.url)
