"""A protocol's fingerprint: what moves it, what does not, and that nothing is ranked across two."""

from dataclasses import fields, replace
from typing import Any

import pytest

from saddle.metrics.protocol import (
    Extraction,
    Fake,
    Protocol,
    Real,
    differences,
    group,
    identities,
    must_be_comparable,
    real_fingerprint,
)

ONE = Protocol(
    Extraction("network", "features: 2048", "ab12", "bilinear to 299x299", False, "uint8"),
    Real("digits", 4000, "cd34"),
    Fake("generator", 2000, 0, "exponential moving average", "standing statistics", "32 of 64"),
)


def changed(value: Any) -> Any:
    """Another value of the same type; None is a seed."""
    if isinstance(value, bool):
        return not value
    return (value or 0) + 1 if isinstance(value, int | None) else f"{value}, otherwise"


PARTS = [
    (part, field.name) for part in ("extraction", "real", "fake") for field in fields(getattr(ONE, part))
]
BESIDE = {("real", "name"), ("fake", "name"), ("fake", "seed"), ("fake", "batch_norm_batches")}


def other(part: str, name: str) -> Protocol:
    side = getattr(ONE, part)
    return replace(ONE, **{part: replace(side, **{name: changed(getattr(side, name))})})


@pytest.mark.parametrize(("part", "name"), PARTS)
def test_the_fingerprint_moves_exactly_with_what_changes_the_quantity(part, name):
    assert (other(part, name).fingerprint == ONE.fingerprint) == ((part, name) in BESIDE)


def test_the_fingerprint_is_ten_digits_and_the_same_on_every_machine():
    assert (
        ONE.fingerprint == "41db6061af"
    )  # pinned: a change of the rule parts all stored numbers from new ones


def test_what_is_stored_holds_the_fingerprint_every_field_and_the_versions():
    stored = ONE.to_dict()
    assert next(iter(stored)) == "fingerprint"
    assert stored["fingerprint"] == ONE.fingerprint
    for part, name in PARTS:
        assert stored[part][name] == getattr(getattr(ONE, part), name)
    assert stored["versions"]["torch"]


def test_the_real_sides_key_is_its_content_never_its_name():
    here = {"device": "cpu"}
    key = real_fingerprint(ONE.extraction, ONE.real, here)
    assert real_fingerprint(ONE.extraction, replace(ONE.real, name="cifar10"), here) == key
    assert real_fingerprint(ONE.extraction, replace(ONE.real, sha256="other"), here) != key
    assert real_fingerprint(ONE.extraction, replace(ONE.real, num=5), here) != key
    assert real_fingerprint(replace(ONE.extraction, weights_sha256="other"), ONE.real, here) != key
    assert real_fingerprint(ONE.extraction, ONE.real, {"device": "cuda"}) != key


def stored() -> dict[str, dict[str, Any]]:
    return {
        "a": ONE.to_dict(),
        "b": other("fake", "seed").to_dict(),
        "c": other("fake", "num").to_dict(),
        "old": {"num_generated": 2000},
    }


def test_results_are_grouped_by_fingerprint_in_order_of_appearance():
    found = stored()
    assert group(found) == {
        ONE.fingerprint: ["a", "b"],
        found["c"]["fingerprint"]: ["c"],
        "none (old)": ["old"],
    }


def test_unlike_settings_of_one_metric_part_results_and_further_metrics_do_not():
    def measured(**metrics: str) -> dict[str, Any]:
        return replace(ONE, metrics=metrics).to_dict()

    few, more = measured(fid="fid()"), measured(fid="fid()", prdc="prdc(k=3)")
    other_k = measured(fid="fid()", prdc="prdc(k=5)")
    assert {one["fingerprint"] for one in (few, more, other_k)} == {ONE.fingerprint}
    assert identities([few, more]) == [ONE.fingerprint] * 2
    keys = identities([few, more, other_k, more])
    assert keys[0] == ONE.fingerprint  # it did not measure what is disputed
    assert keys[1] == keys[3] != keys[2]
    assert all(key.startswith(f"{ONE.fingerprint}-") for key in keys[1:])
    with pytest.raises(ValueError, match=r"got 2: .*metrics\.prdc: 'prdc\(k=3\)' in a, 'prdc\(k=5\)' in b"):
        must_be_comparable({"a": more, "b": other_k})


def test_a_result_without_a_fingerprint_is_told_by_all_that_it_says():
    old, other = {"real": "digits"}, {"real": "letters"}
    assert identities([old, old, other, {}]) == [identities([old])[0]] * 2 + [identities([other])[0], ""]


def test_ranking_across_protocols_is_refused_with_what_differs_unless_told_to():
    found = stored()
    assert must_be_comparable({key: found[key] for key in "ab"}) is None
    across = {key: found[key] for key in "abc"}
    with pytest.raises(
        ValueError, match=r"must share one protocol; got 2: .*fake.num: 2000 in a, 2001 in c\."
    ):
        must_be_comparable(across)
    note = must_be_comparable(across, across_protocols=True)
    assert note is not None
    assert "2 protocols and do not compare" in note
    assert "fake.num: 2000 in a, 2001 in c" in note


def test_differences_name_what_enters_the_fingerprint_only():
    found = stored()
    assert differences(found["a"], found["c"]) == [("fake.num", 2000, 2001)]
    assert ("extraction.dtype", "float32", "float64") in differences(
        found["a"], {**found["a"], "extraction": {**found["a"]["extraction"], "dtype": "float64"}}
    )
    assert differences(found["a"], found["b"]) == []
    assert differences(found["a"], found["old"])
