"""The Vendi score against its definition and its laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from saddle.metrics.vendi import class_vendi, vendi
from samples import every_place, few, normal, one_sample, seeds


def literal_vendi(fake: Tensor) -> float:
    unit = fake / fake.norm(dim=1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh(unit @ unit.mT / len(fake))  # the M × M matrix of the definition
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(torch.exp(-(positive * positive.log()).sum()))


@pytest.mark.parametrize(("num", "width"), [(40, 5), (5, 40)])
def test_vendi_through_the_small_matrix_equals_the_definition(num, width):
    fake = 0.5 + normal(num, width)
    assert_close(vendi(fake, fake), literal_vendi(fake), atol=0, rtol=1e-9)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_vendi_of_equal_blocks_counts_the_blocks(count):
    fake = torch.eye(8, dtype=torch.float64)[torch.arange(5 * count) % count]
    assert_close(vendi(fake, fake), float(count), atol=0, rtol=1e-9)


@every_place
def test_vendi_of_one_sample_is_one(where):
    assert_close(vendi(*one_sample(where)), 1.0, atol=0, rtol=1e-9)


def test_vendi_takes_zero_rows_as_one_kind_of_its_own():
    fake = torch.cat([torch.eye(2), torch.zeros(1, 2)]).double()
    assert_close(vendi(fake, fake), 3.0, atol=0, rtol=1e-9)
    assert_close(vendi(fake, torch.zeros(9, 2)), 1.0, atol=0, rtol=1e-9)


@few
@given(exponent=st.integers(-290, 290), seed=seeds)
def test_vendi_does_not_depend_on_the_lengths_of_rows(exponent, seed):
    fake = normal(12, 3, seed=seed)
    scaled = fake.clone()
    scaled[:6] *= 10.0**exponent
    assert_close(vendi(scaled, scaled), vendi(fake, fake), atol=0, rtol=1e-9)


def test_class_vendi_is_vendi_of_each_class():
    fake, labels = normal(60, 4), torch.arange(60) % 3
    each = [vendi(fake, fake[labels == c]) for c in range(3)]
    expected = {"class_vendi": sum(each) / 3, "class_vendi_worst": min(each)}
    assert_close(class_vendi(fake, fake, fake_classes=labels), expected)
