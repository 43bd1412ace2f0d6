import pytest
from random_catalog import identity

from xpscale.catalog.identity import claim, read_identity
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.storage import Storage


def test_first_claim_wins_and_the_same_run_resumes(storage: Storage):
    with pytest.raises(NotFoundError, match="not an xpscale catalogue"):
        read_identity(storage)
    assert claim(storage, identity()) is True
    assert claim(storage, identity()) is False
    assert read_identity(storage) == identity()


def test_another_run_is_refused_with_every_difference(storage: Storage):
    claim(storage, identity())
    with pytest.raises(ConflictError) as refused:
        claim(storage, identity(model_id="model-2", outputs=("latents",)))
    text = str(refused.value)
    assert "model_id: there model-1, now model-2" in text
    assert f"outputs: there {list(identity().outputs)}, now ['latents']" in text
    assert "input_digest" not in text
    assert "another path" in text
    assert read_identity(storage) == identity()


def test_a_place_that_holds_something_else_is_left_alone(storage: Storage):
    storage.create("holiday/photo.jpg", b"beach")
    with pytest.raises(ConflictError, match="already holds something else: holiday"):
        claim(storage, identity())
    assert list(storage.list()) == ["holiday/photo.jpg"]


@pytest.mark.parametrize("text", [b"{", b"[1]"])
def test_an_identity_that_cannot_be_read_is_no_crash(storage: Storage, text: bytes):
    storage.create("_xpscale/run.json", text)
    with pytest.raises(InvalidInputError, match=r"run\.json cannot be read"):
        claim(storage, identity())


@pytest.mark.parametrize("name", ["set[1]", "star*"])
def test_a_prefix_that_hats_takes_for_a_pattern_is_refused(name: str):
    with pytest.raises(InvalidInputError, match="take for patterns"):
        claim(Storage(f"s3://bucket/{name}"), identity())


def test_a_twin_that_claims_at_the_same_moment_is_no_stranger(storage: Storage, monkeypatch):
    looked = Storage.first_key

    def twin_comes(self: Storage, begun: str = "") -> str:
        monkeypatch.setattr(Storage, "first_key", looked)
        assert claim(Storage(storage.url), identity()) is True
        return looked(self, begun)

    monkeypatch.setattr(Storage, "first_key", twin_comes)
    assert claim(storage, identity()) is False


def test_an_identity_of_another_shape_is_refused_by_readers_and_by_claims(storage: Storage):
    storage.create("_xpscale/run.json", b'{"outputs": []}')
    with pytest.raises(InvalidInputError, match=r"run\.json is no identity of a run"):
        read_identity(storage)
    with pytest.raises(ConflictError, match="model_id: there None, now model-1"):
        claim(storage, identity())
