"""A place: credentials, reading, listing, conditional writing, clock, rate, room.

Writing is tried with an object of our own, of which nothing stays: the first of two writers must
win, and the second be refused, or two processes would overwrite each other's parts in silence.
"""

from __future__ import annotations

import email.utils
import secrets
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from xpscale.doctor.findings import Diagnosis
from xpscale.doctor.this_machine import look_at_room
from xpscale.errors import InvalidInputError, NotFoundError, PermanentError, XpscaleError
from xpscale.formatting import format_bytes, format_duration
from xpscale.storage import Storage
from xpscale.storage.clouds import Cloud, cloud_of

__all__ = ["examine_place", "look_at_credentials"]

PROBE_BYTES = 4 << 20
SLOW = 5e6
"""Bytes a second."""
LONG = timedelta(hours=12)
MOST_SKEW_S = 300.0
"""Seconds; signatures of S3 and Azure are refused after 15 minutes."""
SOME_SKEW_S = 30.0
KNOWN = ("zarr.json", "collection.properties", "card.json")
"""One lies in every store, catalogue and model."""
SET_CLOCK = "Set this machine's clock: timedatectl set-ntp true"


def examine_place(found: Diagnosis, url: str) -> None:
    """Look at a place; errors are findings.

    Parameters
    ----------
    found
        Where findings are noted.
    url
        A path or URL.
    """
    with found.noting(url):
        place = Storage(url)
        if cloud := cloud_of(place.url):
            _look_at_clock(found, place, cloud)
            look_at_credentials(found, place, cloud)
        if place.folder and place.folder.is_file():
            size = len(place.parent.read_range(place.name, 0, 1))
            found.ok(place.url, "a file that can be read" if size else "an empty file")
        elif place.can_list:
            _look_at_objects(found, place)
        else:
            _look_at_web(found, place)


def look_at_credentials(found: Diagnosis, place: Storage, cloud: Cloud) -> None:
    """Who we are, and until when.

    Parameters
    ----------
    found
        Where findings are noted.
    place, cloud
        A bucket, and its kind.

    Raises
    ------
    InvalidInputError
        We are nobody, or no longer.
    """
    who = cloud.credentials()
    text = f"credentials: {who.source}"
    if who.end is None:
        if who.is_temporary:
            found.warn(
                place.url,
                f"{text}; they end, and nobody knows when",
                "Before a long run use a profile, a role or a key that renews itself",
            )
        else:
            found.ok(place.url, text)
        return
    left = who.end - datetime.now(UTC)
    if left <= timedelta():
        raise InvalidInputError(f"{text}; they ended at {who.end:%Y-%m-%d %H:%M} UTC", "Renew them")
    text += f"; they end in {format_duration(left.total_seconds())}"
    if left < LONG:
        found.warn(place.url, text, "A longer run stops then, and goes on with new ones")
    else:
        found.ok(place.url, text)


def _look_at_clock(found: Diagnosis, place: Storage, cloud: Cloud) -> None:
    """Compare our clock with what the server's answers say, also those that refuse."""
    server = cloud.endpoint(place.url.partition("://")[2].partition("/")[0])
    begun = time.time()
    try:
        with urllib.request.urlopen(server, timeout=15) as answer:
            date = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        with error:
            date = error.headers.get("Date")
    except OSError:
        return  # what does not answer is found by what comes next
    if not date:
        return
    theirs = email.utils.parsedate_to_datetime(date).timestamp()
    # the server's clock has whole seconds, and it answered at some time since we asked
    skew = max(begun - theirs - 1, theirs - time.time(), 0.0)
    _judge_clock(found, place, skew, "the server's")


def _judge_clock(found: Diagnosis, place: Storage, skew_s: float, whose: str) -> None:
    text = f"clock: {skew_s:.0f} s from {whose}"
    if skew_s > MOST_SKEW_S:
        found.problem(place.url, InvalidInputError(text, SET_CLOCK))
    elif skew_s > SOME_SKEW_S:
        found.warn(place.url, text, SET_CLOCK)
    else:
        found.ok(place.url, text)


def _look_at_web(found: Diagnosis, place: Storage) -> None:
    known = next((key for key in KNOWN if place.exists(key)), "")
    if not known:
        raise NotFoundError(
            f"{place} answers, and holds no store, catalogue or model", "Check the address"
        )
    place.read_range(known, 0, 1)
    found.ok(place.url, f"{known} is there, and ranges of bytes are served; it is read only")


def _look_at_objects(found: Diagnosis, place: Storage) -> None:
    key = place.first_key()
    found.ok(place.url, f"listing: {f'{key} is there' if key else 'nothing is there yet'}")
    if key:
        begun = time.monotonic()
        n_bytes = len(place.read_range(key, 0, min(place.size(key) or 0, PROBE_BYTES)))
        if n_bytes == PROBE_BYTES:
            _judge_rate(found, place, "read", time.monotonic() - begun)
        else:
            found.ok(place.url, f"reading: {n_bytes:,} bytes of it")
    ground = place
    if place.folder is not None:
        ground = Storage(str(next(path for path in _and_above(place.folder) if path.is_dir())))
        look_at_room(found, place.url, ground.url)
    try:
        _try_writing(found, place, ground)
    except InvalidInputError as error:
        found.warn(place.url, f"read only: {error.message}", error.remedy)


def _and_above(folder: Path) -> list[Path]:
    return [folder, *folder.parents]


def _try_writing(found: Diagnosis, place: Storage, ground: Storage) -> None:
    """Write an object of ours twice, read it, and remove it; where the place is not there yet, in
    the folder that it will be made in.
    """
    key, data = f"_xpscale-doctor-{secrets.token_hex(6)}", secrets.token_bytes(PROBE_BYTES)
    begun = time.monotonic()
    try:
        ground.create(key, data)
        _judge_rate(found, place, "written", time.monotonic() - begun)
        if ground.create(key, b"another writer"):
            raise PermanentError(
                f"{place} overwrites what is there: conditional PUT is ignored",
                "Use a server that keeps If-None-Match: *, or a shared folder",
            )
        found.ok(place.url, "conditional writing: of two writers the first one wins")
        begun = time.monotonic()
        if ground.read(key) != data:
            raise PermanentError(f"{place} returned other bytes than were written", "Use another")
        _judge_rate(found, place, "read", time.monotonic() - begun)
        if ground.folder:
            written_s = (ground.folder / key).stat().st_mtime
            _judge_clock(found, place, abs(written_s - time.time()), "the disk's")
    finally:
        try:
            ground.delete(key)
        except XpscaleError as error:
            found.warn(place.url, f"{key} stays there: {error.message}", error.remedy)


def _judge_rate(found: Diagnosis, place: Storage, verb: str, elapsed_s: float) -> None:
    rate = PROBE_BYTES / max(elapsed_s, 1e-6)
    text = f"{format_bytes(PROBE_BYTES)} {verb} at {format_bytes(rate)}/s"
    if rate < SLOW:
        found.warn(place.url, text, "Work where the data lie: the same region, or a local disk")
    else:
        found.ok(place.url, text)
