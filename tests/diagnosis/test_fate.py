"""What became of a course: converged, orbit or diverged."""

import pytest
import torch
from torch.testing import assert_close

from saddle.diagnosis import fate


def courses(*factors: float, num: int = 400, start: float = 0.1) -> torch.Tensor:
    """Distances that change by these factors a round."""
    return start * torch.tensor(factors) ** torch.arange(num + 1)[:, None]


def test_a_fate_is_told_by_the_second_half_of_a_course():
    found = fate.fate(courses(0.99, 0.9999, 1.0, 1.0001, 1.03, 0.0))
    names = [fate.NAMES[verdict] for verdict in found.verdict]
    assert names == ["converged", "orbit", "orbit", "orbit", "diverged", "converged"]
    assert_close(found.growth[:5], torch.tensor([0.99, 0.9999, 1.0, 1.0001, 1.03]), rtol=1e-12, atol=0)


def test_what_is_no_longer_a_number_has_diverged_and_an_oval_orbit_is_an_orbit():
    turns = 1 + 0.5 * torch.sin(torch.arange(401) / 7)
    lost = torch.cat([torch.ones(200), torch.full((201,), torch.nan)])
    overflowed = torch.cat([torch.ones(200), torch.full((201,), torch.inf)])
    found = fate.fate(torch.stack([turns, lost, overflowed], 1))
    assert [fate.NAMES[verdict] for verdict in found.verdict] == ["orbit", "diverged", "diverged"]
    assert torch.isnan(found.growth[1:]).all()


def test_a_course_too_short_or_from_the_point_itself_is_refused():
    with pytest.raises(ValueError, match="a fate needs at least 8 rounds; got 5"):
        fate.fate(torch.ones(6, 1))
    with pytest.raises(ValueError, match="a course must start away from the point"):
        fate.fate(torch.zeros(20, 1))
