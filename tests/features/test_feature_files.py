"""Feature files and the cache of the real side: whole, checked, keyed by content."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from saddle.features import files as feature_files
from saddle.metrics.protocol import Extraction, Real

EXTRACTION = Extraction("network", "features: 2048", "ab12")
REAL = Real("digits", 4, "cd34")


def features() -> dict[str, torch.Tensor]:
    return {"features": torch.arange(12.0).view(4, 3), "logits": torch.ones(4, 2, dtype=torch.float32)}


def test_a_feature_file_gives_back_bits_dtype_and_origin(tmp_path):
    path = tmp_path / "fake.safetensors"
    feature_files.write(path, features(), EXTRACTION, {"word": "x", "seed": None})
    found = feature_files.read(path)
    assert_close(dict(found.features), features(), atol=0, rtol=0)
    assert found.extraction == EXTRACTION
    assert found.side == {"word": "x", "seed": None}
    assert [file.name for file in tmp_path.iterdir()] == ["fake.safetensors"]


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "spoil",
    [flipped, lambda content: content[:-3], lambda _: b"", lambda _: b"no features" * 20],
    ids=["flipped", "cut", "empty", "text"],
)
def test_a_spoilt_file_is_refused_and_a_spoilt_cache_computed_again_with_a_note(tmp_path, monkeypatch, spoil):
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    notes: list[str] = []
    feature_files.cached(EXTRACTION, REAL, "cpu", features, notes.append)
    (path,) = (tmp_path / "real").iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"must be a whole one of Saddle's format 1; .* is not"):
        feature_files.read(path)
    found = feature_files.cached(EXTRACTION, REAL, "cpu", features, notes.append)
    assert_close(found, features(), atol=0, rtol=0)
    assert len(notes) == 1
    assert "computed anew" in notes[0]
    assert_close(dict(feature_files.read(path).features), features(), atol=0, rtol=0)  # and kept again


def test_another_programs_safetensors_is_no_feature_file(tmp_path):
    from safetensors.torch import save_file

    save_file(features(), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="its metadata is"):
        feature_files.read(tmp_path / "model.safetensors")


def test_the_cache_answers_for_the_same_content_under_any_name_and_for_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    calls = []

    def compute() -> dict[str, torch.Tensor]:
        calls.append(len(calls))
        return {"features": torch.full((2, 2), float(len(calls)))}

    def value(extraction: Extraction, real: Real) -> float:
        found = feature_files.cached(extraction, real, "cpu", compute, pytest.fail)
        return found["features"][0, 0].item()

    assert value(EXTRACTION, REAL) == 1
    assert value(EXTRACTION, replace(REAL, name="renamed")) == 1
    assert value(EXTRACTION, replace(REAL, sha256="other images under the same name")) == 2
    assert value(replace(EXTRACTION, weights_sha256="other weights"), REAL) == 3
    assert value(EXTRACTION, REAL) == 1
    assert calls == [0, 1, 2]


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path / "file"))
    notes: list[str] = []
    found = feature_files.cached(EXTRACTION, REAL, "cpu", features, notes.append)
    assert_close(found, features(), atol=0, rtol=0)
    assert "could not be kept" in notes[0]
    assert "SADDLE_CACHE" in notes[0]
