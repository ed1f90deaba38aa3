"""What a run that stopped being finite advises: nothing that is done already, and the settings first."""

import pytest
import torch

from compositions import composed
from saddle.training.assembly import assemble
from saddle.training.member import Diverged


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("words", "index", "advice"),
    [
        (
            ["regularizer=[]"],
            7,
            r"step 8\. Lower optimizer\.generator\.lr, or bound .* regularizer=\[r1\]\.$",
        ),
        (
            ["regularizer=[r1,lecam]"],
            7,
            r"step 8\. Lower optimizer\.generator\.lr, or give another weight .* already \(r1, lecam\)\.$",
        ),
        (["regularizer=[]"], 0, r"step 1\. It was the first round: look for a setting or data that is not"),
    ],
)
def test_the_advice_fits_the_run_and_the_step(words, index, advice):
    member = assemble(composed("data=ring8", "model=mlp", *words)).member
    member.begin(torch.device("cpu"))
    with pytest.raises(Diverged, match=rf"the generator's loss/generator became nan at generator {advice}"):
        member.take(range(index, index + 1), member.state, [{"loss/generator": float("nan")}])
