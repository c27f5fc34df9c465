import numpy as np
import pytest
import torch

from avel_cli.datasets.sounds import SoundCorpus
from avel_cli.errors import SetupError

ROWS = [(0, 40000, "a", "free"), (40000, 1000, "b", "free"), (41000, 3000, "b", "terms")]


def _corpus(folder, rows=ROWS, samples=44000):
    folder.mkdir(exist_ok=True)
    np.arange(samples).astype("<i2").tofile(folder / "sounds.raw")  # a sample tells where it lies
    lines = ["offset,length,source,path,licence_class", *(f"{o},{n},{s},x,{c}" for o, n, s, c in rows)]
    (folder / "sounds.csv").write_text("\n".join(lines) + "\n")
    return folder


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_windows_are_stretches_of_the_files_and_the_seed_decides_them(tmp_path):
    corpus = SoundCorpus([_corpus(tmp_path)])
    windows = corpus.draw(50, 2000, _rng())
    assert windows.shape == (50, 2000)
    assert torch.equal(windows, corpus.draw(50, 2000, _rng()))
    steps = (windows[:, 1:] - windows[:, :-1]) * 32768
    inside = (windows[:, 1:] != 0) & (windows[:, :-1] != 0)
    assert (steps[inside].round().abs() % 65536 == 1).all() or (steps[inside].round() == 1).float().mean() > 0.99


def test_a_source_counts_by_the_root_of_its_length_and_by_its_weight(tmp_path):
    folder = _corpus(tmp_path)
    drawn = SoundCorpus([folder]).draw(4000, 100, _rng())[:, 50].mul(32768).round()
    share = (drawn % 65536 < 40000).float().mean().item() if (drawn >= 0).all() else None
    assert share is None or share == pytest.approx(40000**0.5 / (40000**0.5 + 4000**0.5), abs=0.04)
    with pytest.raises(SetupError, match="no sound of the licence classes none"):
        SoundCorpus([folder], classes=["none"])
    assert SoundCorpus([folder], classes=["terms"]).sources == pytest.approx({"b": 3000 / 32000 / 3600})


@pytest.mark.parametrize(
    ("rows", "message"),
    [([(0, 50000, "a", "free")], "does not have"), ([(-5, 10, "a", "free")], "does not have"), ([], "no sound")],
)
def test_a_table_that_does_not_fit_the_samples_is_refused(rows, message, tmp_path):
    with pytest.raises(SetupError, match=message):
        SoundCorpus([_corpus(tmp_path, rows)])


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(SetupError, match=r"no sounds\.csv and sounds\.raw there"):
        SoundCorpus([tmp_path])
    _corpus(tmp_path)
    (tmp_path / "sounds.csv").write_text("offset,length\n0,1\n")
    with pytest.raises(SetupError, match="column source is missing"):
        SoundCorpus([tmp_path])
