"""A folder on a file system without hard links: of several writers one wins, and all is kept."""

import errno
import os

import pytest

from xpscale.storage import Storage


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV])
def storage(request, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", refuse)
    return Storage(str(tmp_path / "folder"))


def test_an_object_is_created_once(storage):
    assert storage.create("a/b", b"first")
    assert storage.create("a/b", b"first")
    assert not storage.create("a/b", b"second")
    assert storage.read("a/b") == b"first"
    assert [*storage.list()] == ["a/b"]
    assert storage.unfinished() == {}
