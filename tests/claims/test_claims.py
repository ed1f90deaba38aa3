"""Published claims: every file is one, exact measurements are right, and results are judged as said."""

import math
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch.testing import assert_close

from claims_written import half, written
from saddle.claims import bilinear, discriminators, games, linear_quadratic, metrics, modes, quadratics
from saddle.claims.claim import Quantity, choose, did_you_mean, read_claim, read_claims
from saddle.claims.judging import Verdict, accepted, band, distance, judge, not_run, row
from saddle.claims.measured import Asked, Course, Figure, Measured, from_json, joined, to_json
from saddle.claims.page import claims_page
from saddle.claims.table import show, to_csv, to_terminal
from saddle.claims.training import arm, member, samples, train
from saddle.theory import held_modes
from saddle.theory.bilinear import OPTIMISTIC, SIMULTANEOUS, lookahead
from saddle.training.configuration import config_directory
from saddle.training.module import GANModule, Pace

CONF = config_directory()
CLAIMS = read_claims(CONF / "claim")


def measured(key: str, seeds: tuple[int, ...] | None = None, **settings: Any) -> Measured:
    """A claim's own function, with settings of its own replaced."""
    claim = CLAIMS[key]
    asked = Asked(seeds or claim.seeds, claim.arms)
    return instantiate({**claim.measure, **settings}, asked, _convert_="all")


# ---- the files


@pytest.mark.parametrize("key", CLAIMS)
def test_every_claim_names_a_function_a_paper_and_what_it_would_accept(key):
    claim = CLAIMS[key]
    assert callable(instantiate({"_target_": claim.measure["_target_"], "_partial_": True}))
    assert all((claim.title, claim.paper, claim.statement, claim.protocol))
    assert any(quantity.judged for quantity in claim.quantities.values())
    assert {*claim.tags} <= {"exact", "minutes", "gpu"}
    assert len(claim.seeds) >= 3 or "minutes" not in claim.tags


def test_exact_claims_are_to_take_no_more_than_five_minutes_of_two_cores():
    exact = choose(CLAIMS, [], ["exact"])
    assert len(exact) == 11
    assert sum(claim.cost for claim in exact) < 2 * 300


@pytest.mark.parametrize("key", CLAIMS)
def test_the_arms_of_every_claim_are_words_that_training_takes(key):
    torch.set_default_dtype(torch.float32)
    for words in CLAIMS[key].arms.values():
        of = arm(words, [0])
        assert of.num_rounds > 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cost": None}, r"every field must be given; \S+mine.yaml has no cost\. Give it\."),
        ({"statment": "x"}, r"got statment in .*\. Did you mean statement\?"),
        ({"quantities": {}}, "needs a quantity"),
        ({"measure": {"target": "x"}}, "measure must name a function as _target_"),
        ({"quantities": {"q": {"paper": 1, "source": "closed from"}}}, "Did you mean closed form"),
        ({"quantities": {"q": {"paper": 1}}}, "mine.yaml: q has no source"),
        (
            {"quantities": {"q": {"paper": 1, "source": "unconfirmed", "within": 0.1}}},
            "an unconfirmed number must not be a threshold; got within",
        ),
        ({"quantities": {"q": {"paper": "null", "source": "pilot", "wihtin": 1}}}, "Did you mean within"),
        ({"seeds": []}, "a claim needs a quantity, a seed and a tag"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_claim_is_refused_with_one_message(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_claim(written(tmp_path, **changes))


def test_text_that_is_no_yaml_is_refused(tmp_path):
    (tmp_path / "torn.yaml").write_text("title: [")
    with pytest.raises(ValueError, match="a claim must be a YAML file"):
        read_claim(tmp_path / "torn.yaml")


def test_claims_are_chosen_by_name_and_by_tag():
    assert [claim.key for claim in choose(CLAIMS, ["dirac"], [])] == ["dirac"]
    assert choose(CLAIMS, [], ["all"]) == list(CLAIMS.values())
    both = {claim.key for claim in choose(CLAIMS, ["dirac"], ["gpu"])}
    assert both == {"dirac", "pacgan_ring", "stacked_digits_pack", "stacked_digits_r3", "cifar_sngan"}
    with pytest.raises(ValueError, match=r"a claim must be one of .*; got dirak\. Did you mean dirac\?"):
        choose(CLAIMS, ["dirak"], [])
    with pytest.raises(
        ValueError, match=r"a tag must be one of all, exact, gpu, minutes; got exakt\. Did you"
    ):
        choose(CLAIMS, [], ["exakt"])
    assert did_you_mean("zzz", CLAIMS) == " Choose among those."


def test_only_what_is_measured_decides_where_a_result_lies(tmp_path):
    digest = read_claim(written(tmp_path)).digest
    assert read_claim(written(tmp_path, title="other", cost=5)).digest == digest
    for changes in ({"seeds": [1]}, {"arms": {"a": ["b=c"]}}, {"measure": {"_target_": "x.y"}}):
        assert read_claim(written(tmp_path, **changes)).digest != digest


# ---- judging


def test_a_value_is_accepted_within_its_band_and_never_if_it_is_not_finite():
    one = Quantity("q", 2.0, "closed form", within=0.1)
    assert accepted(one, 2.1 - 1e-12)
    assert not accepted(one, 1.89)
    assert not accepted(one, math.nan)
    assert accepted(Quantity("q", 2.0, "closed form", relative=0.1), 2.19)
    assert not accepted(Quantity("q", None, "pilot", at_least=3.0, at_most=4.0), 4.1)
    assert not accepted(Quantity("q", None, "pilot", at_least=3.0), math.nan)
    assert band(Quantity("q", None, "pilot", at_least=3.0, at_most=4.0)) == "≥ 3 and ≤ 4"


def test_eigenvalues_are_paired_as_suits_all_of_them():
    assert_close(distance((1j, -1j, 0.5 + 0j), (0.5 + 0j, -1j, 1.001j)), 1e-3)
    assert distance((1j, -1j), (1j,)) == math.inf
    assert math.isnan(distance((1j,), 1.0))


def test_several_seeds_are_accepted_by_their_whole_interval_and_not_by_the_best():
    quantity = Quantity("q", 1.0, "closed form", within=0.1)
    good = row(quantity, [0.98, 1.0, 1.02, 1.01])
    assert good.verdict is Verdict.REPRODUCED
    assert good.low is not None
    assert good.high is not None
    assert 0.98 <= good.low < 1.0025 < good.high <= 1.02
    wide = row(quantity, [0.7, 1.0, 1.3, 1.0])  # the mean is right, the interval is not
    assert_close(wide.ours, 1.0)
    assert wide.verdict is Verdict.NOT_REPRODUCED
    assert row(quantity, [1.0, math.nan]).verdict is Verdict.NOT_REPRODUCED
    same = row(quantity, [1.0, 1.0 + 1e-15, 1.0 - 1e-15])  # of which no bootstrap has an interval
    assert same.verdict is Verdict.REPRODUCED
    assert row(Quantity("q", 1.0, "unconfirmed"), [5.0]).verdict is Verdict.SHOWN


def test_a_claim_is_reproduced_if_every_judged_quantity_is(tmp_path):
    quantities = {
        "q": {"paper": 0.5, "source": "closed form", "within": 0.1},
        "r": {"paper": None, "source": "pilot", "at_most": 1.0},
    }
    claim = read_claim(written(tmp_path, quantities=quantities))
    assert judge(claim, Measured({"q": [0.5], "r": [0.5]}), 1.0).verdict is Verdict.REPRODUCED
    assert judge(claim, Measured({"q": [0.5], "r": [1.5]}), 1.0).verdict is Verdict.NOT_REPRODUCED
    with pytest.raises(
        ValueError, match=r"must measure every quantity of mine; it has no r\. It measures q\."
    ):
        judge(claim, Measured({"q": [0.5]}), 1.0)


def test_what_is_measured_survives_its_file():
    found = Measured(
        {"a": [1.5, math.inf], "b": [(1 + 2j, 1 - 2j)]},
        [Figure("f", "x", "y", [Course("c", [1.0], [2.0], [None], [3.0])], [Course("d", [1.0], [2.0])])],
    )
    assert from_json(to_json(found)) == found
    assert math.isnan(from_json(to_json(Measured({"a": [math.nan]}))).values["a"][0])


def test_seeds_measured_apart_are_joined_in_order_and_their_courses_averaged():
    one, other = (
        Measured({"q": [value]}, [Figure("f", "x", "y", [Course("c", [0.0], [value])])])
        for value in (1.0, 3.0)
    )
    both = joined([one, other])
    assert both.values == {"q": [1.0, 3.0]}
    assert both.figures[0].courses == [Course("c", [0.0], [2.0], [1.0], [3.0])]


# ---- table and page


def test_eigenvalues_are_shown_a_pair_at_a_time():
    assert show((-0.5 + 1j, -0.5 - 1j, 2 + 0j)) == "−0.5 ± 1i, 2"
    assert show((1j, -1j)) == "±1i"
    assert show(1.00498756) == "1.00499"
    assert show(None) == "–"


def test_table_and_page_tell_every_verdict_and_escape_what_files_say(tmp_path):
    claim = read_claim(written(tmp_path, title="<b>bold</b>", needs=["a GPU"]))
    results = [judge(claim, half(Asked((0,)), value), 3.0) for value in (0.5, 0.9)]
    results.append(not_run(claim, "needs a GPU"))
    page = claims_page(results, {"seed": 0}, 3.0)
    assert "<b>bold" not in page
    assert "1 reproduced, 1 not reproduced, 1 not run" in page
    assert page.count('<svg viewBox="0 0 400 230"') == 2  # a figure each of those that ran
    assert "http://" not in page.replace("http://www.w3.org", "")
    lines = to_csv(results).splitlines()
    assert [line.split(",")[9] for line in lines[1:]] == ["reproduced", "not reproduced", "not run"]
    assert to_terminal(results).row_count == 5


# ---- exact measurements


def test_a_factor_read_off_a_path_is_that_of_its_recurrence():
    """xₜ₊₁ = Axₜ with |λ| = 1.01 from 2x2 turning; of growth to 1e200 only what does not overflow is used."""
    turn = 1.01 * torch.tensor([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    points = [torch.tensor([1.0, 0.5])]
    for _ in range(50):
        points.append(turn @ points[-1])
    assert_close(games.rate(torch.stack(points), 2), 1.01)
    assert_close(games.rate(1e-190 * torch.stack(points), 2), 1.01)


def test_a_zero_sum_game_has_the_gradients_of_its_payoff_and_its_noise():
    game = games.zero_sum(lambda x, y: x * x * y, torch.tensor([2.0, 1.0]), torch.tensor([3.0, -1.0]))
    noise = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    gradients, _ = game.gradients(game.init(), games.of_zero_sum(noise))
    assert_close(gradients.generator, torch.tensor([12.0 + 0.1, -2.0 + 0.2]))  # ∂f/∂x = 2xy
    assert_close(gradients.discriminator, torch.tensor([-4.0 + 0.3, -1.0 + 0.4]))  # −∂f/∂y = −x²


def test_the_zoo_reads_off_trained_paths_what_theory_says():
    found = bilinear.zoo(Asked((0,)), strides={"s": 0.3}, num_rounds=20).values
    assert_close(found["optimistic/s"][0], OPTIMISTIC.radius(0.3), atol=1e-6, rtol=0)
    expected = lookahead(SIMULTANEOUS, 5, 0.5).radius(0.3)
    assert_close(found["lookahead/s"][0], expected, atol=1e-6, rtol=0)


def test_the_linear_quadratic_claim_reproduces():
    claim = CLAIMS["linear_quadratic"]
    assert judge(claim, linear_quadratic.jacobian(Asked((0,))), 0.0).verdict is Verdict.REPRODUCED


def test_the_ridge_leaves_and_finds_what_the_authors_say():
    found = quadratics.ridge(Asked((0,)), num_rounds=2).values
    assert [round(found[f"f{i}/{name}/factor"][0], 9) for i in (1, 2) for name in ("descent", "ridge")] == [
        1.1, 0.9, 0.9, 1.1,
    ]  # fmt: skip


def test_every_seed_of_the_noisy_saddle_has_noise_of_its_own():
    pairs = {"a": (1e-2, 1e-2)}
    alone = quadratics.two_time_scales(Asked((3,)), pairs, 20, 0).values["a/y"]
    among = quadratics.two_time_scales(Asked((1, 3)), pairs, 20, 0).values["a/y"]
    assert_close(among[1], alone[0])
    assert among[0] != among[1]


def test_the_metrics_claim_measures_all_it_names():
    assert {*CLAIMS["known_metrics"].quantities} <= {*metrics.known_answers(Asked((0,))).values}


def test_a_trained_discriminators_loss_counts_the_modes():
    found = discriminators.held_modes(Asked((0,)), num_steps=150, num_held=(4,)).values
    # a quarter of the claim's steps: still off by 0.02
    assert_close(found["logistic/4"][0], held_modes.logistic_loss(0.5), atol=0.02, rtol=0)
    assert_close(found["hinge/4"][0], held_modes.hinge_loss(0.5), atol=0.02, rtol=0)


def test_gradients_against_a_trained_discriminator_are_looked_at_from_its_first_step_on():
    torch.set_default_dtype(torch.float32)
    found = discriminators.vanishing_gradients(Asked((0, 1)), steps=[0, 5], num_samples=64).values
    assert_close(found["falls"][0], found["log(1-D)/0"][0] - found["log(1-D)/5"][0])
    assert found["falls"][0] != found["falls"][1]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["dirac", "limit_cycle", "lookahead_bilinear", "competitive"])
def test_the_slower_exact_claims_reproduce(key):
    assert judge(CLAIMS[key], measured(key), 0.0).verdict is Verdict.REPRODUCED


# ---- training


def test_lifted_seeds_are_the_runs_with_those_seeds():
    """Both ways to play a round, and Lightning's module: float32 round-off over 5 rounds of Adam."""
    torch.set_default_dtype(torch.float32)
    words = ["experiment=unrolled_ring", "num_steps=5", "evaluate_every=5", "checkpoint_every=5"]
    (lifted,) = train(arm(words, [0, 7]), [5])
    alone = arm(words, [7])
    (solo,) = train(alone, [5])
    assert_close(member(lifted.players, 1), member(solo.players, 0), rtol=1e-4, atol=1e-6)
    module = GANModule(arm(words, [7]).members, Pace(5))
    module.begin()
    module.play(next(module.chunks()))
    assert_close(module.members[0].state.players, member(solo.players, 0), rtol=0, atol=0)
    assert samples(alone, solo.players, 3).shape == (1, 3, 2)


def test_seeds_of_a_claim_follow_the_schedules_of_their_configuration():
    """Cosine to 0 over 4 steps: the fifth round changes nothing, with one seed and with two."""
    words = ["experiment=unrolled_ring", "num_steps=5", "evaluate_every=5", "checkpoint_every=5"]
    words += ["schedule=cosine", "schedule.generator.num_steps=4", "schedule.discriminator.num_steps=4"]
    torch.set_default_dtype(torch.float32)
    for seeds in ([0], [0, 7]):
        first, fourth, fifth = train(arm(words, seeds), [1, 4, 5])
        assert_close(fifth.players, fourth.players, rtol=0, atol=0)
        assert not torch.equal(fourth.players.generator, first.players.generator)


SHORT: dict[str, dict[str, Any]] = {
    "unrolled_ring": {"num_rounds": 3, "num_looks": 2},
    "two_clusters": {"num_rounds": 3, "num_checks": 2},
    "grid25": {"num_rounds": 2, "num_looks": 1},
    "pacgan_ring": {"num_rounds": 1, "num_looks": 1},
}


@pytest.mark.parametrize("key", SHORT)
def test_claims_that_train_measure_all_they_name(key):
    torch.set_default_dtype(torch.float32)
    found = measured(key, (0,), **SHORT[key])
    assert {*CLAIMS[key].quantities} <= {*found.values}
    assert from_json(to_json(found)).figures


@pytest.mark.slow
@pytest.mark.parametrize(("key", "short"), [("path_angle", {}), ("numerics_ring", {"num_batches": 1})])
def test_claims_that_look_at_spectra_measure_all_they_name(key, short):
    torch.set_default_dtype(torch.float32)
    found = measured(key, (0,), num_rounds=2, **short)
    assert {*CLAIMS[key].quantities} <= {*found.values}


def test_both_clusters_are_held_for_good_once_nine_of_ten_looks_say_so():
    looks = [*range(1, 11)]
    assert modes._for_good([False] * 3 + [True] * 7, looks) == 4
    assert modes._for_good([True] + [False] * 8 + [True], looks) == 10
    assert modes._for_good([False] * 10, looks) == 10
    assert modes._jaccard(0b0110, 0b0011) == pytest.approx(1 / 3)
