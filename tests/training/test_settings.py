import numpy as np
import pytest

from tests.commands import done, xpscale
from tests.support.memory_reader import planted
from xpscale.bands import Bands
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.ingest.build import build_store
from xpscale.model.architectures import build
from xpscale.model.checkpoint import load_model
from xpscale.model.cost import multiplications
from xpscale.training.settings import PRESETS, TrainingSettings


def write(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_toml_says_what_it_says(tmp_path):
    settings = TrainingSettings.from_toml(
        write(tmp_path, "[training]\nepochs = 7\nlearning_rate = 1\nhidden = [8, 4]")
    )
    assert (settings.epochs, settings.learning_rate, settings.hidden) == (7, 1.0, (8, 4))
    assert TrainingSettings.from_toml(write(tmp_path, "batch_size = 64")).batch_size == 64
    preset = TrainingSettings.from_toml(write(tmp_path, 'preset = "laroche2024"\nepochs = 10'))
    assert (preset.epochs, preset.learning_rate, preset.schedule) == (10, 1e-4, "restarts")


def test_the_default_network_has_a_third_of_the_multiplications_of_the_wide_one():
    default, wide = (
        multiplications(build(PRESETS[name].architecture(Bands(55, 55)))).encode
        for name in ("default", "wide")
    )
    assert default < wide / 3


def test_the_command_trains_a_preset_or_says_which_there_are(tmp_path):
    store = build_store(
        [("all", planted(1500))], str(tmp_path / "store"), attributes={"origin": "planted"}
    )
    done("train", store.url, tmp_path / "model", "--preset", "laroche2024", "--epochs", 1)
    card = load_model(str(tmp_path / "model")).card
    assert card.training == {**PRESETS["laroche2024"].to_dict(), "epochs": 1}
    file = write(tmp_path, "epochs = 1")
    for words, remedy in (
        (("laroche",), "Did you mean 'laroche2024'"),
        (("laroche2024", "--settings", file), "exclude each other"),
    ):
        refused = xpscale("train", store.url, tmp_path / "other", "--preset", *words)
        assert refused.code == InvalidInputError.exit_code
        assert remedy in refused.err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat = 1e-3", "Did you mean 'learning_rate'"),
        ('preset = "laroche"', "Did you mean 'laroche2024'"),
        ("colour = 3", "Known: epochs"),
        ("epochs = 2.5", "epochs is 2.5. Give a whole number"),
        ('hidden = [8, "x"]', "all 1 or more"),
        ("hidden = 8", "Give a list"),
        ('epochs = "many"', "epochs is 'many'"),
        ("epochs = true", "epochs is True"),
        ("epochs = 0", "must be at least 1"),
        ('schedule = "linear"', "one of cosine, restarts"),
        ("held_out_fraction = 1.0", "held_out_fraction"),
        ("epochs 3", "is not TOML"),
    ],
)
def test_wrong_settings_are_refused_with_a_remedy(tmp_path, text, message):
    with pytest.raises(InvalidInputError, match=message):
        TrainingSettings.from_toml(write(tmp_path, text))
    with pytest.raises(NotFoundError):
        TrainingSettings.from_toml(tmp_path / "none.toml")


def test_the_papers_schedule_is_the_logged_one():
    """Learning rates of the authors' training log, at the epochs it prints."""
    paper = PRESETS["laroche2024"]
    logged = {1: 1e-4, 10: 9.992e-5, 50: 9.76e-5, 100: 9.06e-5, 200: 6.57e-5, 501: 1e-4}
    for epoch, learning_rate in logged.items():
        assert paper.learning_rate_at(epoch - 1) == pytest.approx(learning_rate, rel=2e-3)
    assert paper.learning_rate_at(499) == pytest.approx(1.1e-9, rel=0.15)


def test_the_default_schedule_rises_and_ends_at_zero():
    settings = TrainingSettings(epochs=20, learning_rate=1.0)
    rates = [settings.learning_rate_at(epoch) for epoch in np.arange(0, 20, 0.1)]
    assert rates[0] < 0.02
    assert 0.98 < max(rates) <= 1
    assert rates[-1] < 1e-3
    assert np.diff(rates[10:]).max() < 0


def test_added_noise_is_gone_at_the_end():
    settings = TrainingSettings(epochs=10, added_noise=1.5)
    assert [settings.added_noise_at(epoch) for epoch in (0, 5, 7.5, 10)] == pytest.approx(
        [1.5, 1.5, 0.75, 0]
    )


def test_free_nats_fall_to_zero_by_the_middle():
    settings = TrainingSettings(epochs=10, free_nats=0.6)
    assert [settings.free_nats_at(epoch) for epoch in (0, 2.5, 5, 9)] == pytest.approx(
        [0.6, 0.3, 0, 0]
    )
