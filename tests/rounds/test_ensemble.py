"""Members of an ensemble are the solo runs they stand for; what cannot be lifted is refused."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from oracles import dirac_batch, dirac_gan
from pairs import FACTORS, LATENTS, NOTHING, Row, dynamics_of, fits, flat, game_of, samples_of
from saddle.data.sampling import draw_batches
from saddle.data.sources import TensorSource
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.averages import ExponentialAverage, UniformAverage
from saddle.dynamics.optimizers import SGD, Adam
from saddle.dynamics.schedules import Cosine, Linear
from saddle.game.calculus import AUTOGRAD
from saddle.game.game import Players
from saddle.game.losses import LeastSquares, NonSaturating
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1, wgan_gp
from saddle.game.penalties.generator import JacobianClamping
from saddle.models import mlp
from saddle.rounds.execution import (
    CONSTANT,
    EAGER,
    Compiled,
    Execution,
    Method,
    Step,
    TrainingState,
    eager,
    start,
    traced,
)
from saddle.rounds.execution import rounds as solo_rounds
from saddle.rounds.lifting import Unlike, differing, lift, together, unstack, with_number

CPU = torch.device("cpu")
# as tests/test_pairwise.py: round-off of a few steps, which Adam's 1/√v magnifies for the smallest gradients
ROUND_OFF = {"atol": 1e-10, "rtol": 1e-10}
needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler: apt install g++"
)


def as_graph(step: Step) -> Step:
    """Traced as for the compiler, and run operation by operation."""
    return traced(step, lambda graph, _: graph)


def play_lifted(
    members: Sequence[Method], data: Tensor, num_rounds: int, execution: Execution = EAGER, num: int = 4
) -> tuple[TrainingState, dict[str, Tensor]]:
    """Of seeds 0, 1, ...: each member has batches of its own."""
    states = [start(parts.game, parts.dynamics, parts.averages, CPU) for parts in members]
    step = together(members, execution, states[0].players.generator)
    state = step.join(states)
    logs: dict[str, Tensor] = {}
    for index in range(num_rounds):
        batches = [batches_of(*pair, data, index, num) for pair in enumerate(members)]
        state, logs = step.play(state, step.join(batches), index)
    return state, logs


def batches_of(seed: int, parts: Method, data: Tensor, index: int, num: int) -> Any:
    return draw_batches(TensorSource(data), LATENTS, parts.game, num, parts.dynamics.num_batches, seed, index)


def play_solo(
    seed: int, parts: Method, data: Tensor, num_rounds: int, num: int = 4
) -> tuple[TrainingState, dict[str, Tensor]]:
    play, state = eager(*parts), start(parts.game, parts.dynamics, parts.averages, CPU)
    logs: dict[str, Tensor] = {}
    for index in range(num_rounds):
        state, logs = play(state, batches_of(seed, parts, data, index, num), index)
    return state, logs


def must_equal_solo(
    members: Sequence[Method],
    data: Tensor,
    num_rounds: int = 2,
    execution: Execution = EAGER,
    tolerance: Any = ROUND_OFF,
    about: object = "",
) -> None:
    state, logs = play_lifted(members, data, num_rounds, execution)
    for index, parts in enumerate(members):
        alone, logs_alone = play_solo(index, parts, data, num_rounds)

        def message(text: str, index: int = index) -> str:
            return f"member {index}, {about}: {text}"

        assert_close(flat(unstack(state, index)), flat(alone), **tolerance, msg=message)
        assert_close(unstack(logs, index), logs_alone, **tolerance, msg=message)


# ---- members and solo runs


SECOND_ORDER = ["cgd", "consensus", "follow_the_ridge", "sga", "unrolled"]
FIRST_ORDER = sorted({*FACTORS["dynamics"]} - {*SECOND_ORDER})


# correct, but member by member: torch cannot lift its own weight normalization
pytestmark = pytest.mark.filterwarnings("ignore:.*batching rule for aten..?_weight_norm_interface.*")

NUM_ROWS = max(map(len, FACTORS.values()))


@cache
def every_choice_once() -> list[Row]:
    """As many rows as the longest group has choices; each choice is in one of them at least."""
    rows: list[Row] = []
    seen: dict[str, set[str]] = {group: set() for group in FACTORS}
    for number in range(NUM_ROWS):
        row: Row = {}
        for group, choices in FACTORS.items():
            choices = FIRST_ORDER if group == "dynamics" else choices
            turn = number % len(choices)
            turned = sorted(choices[turn:] + choices[:turn], key=seen[group].__contains__)
            fitting = (c for c in turned if all(fits((group, c), item) for item in row.items()))
            row[group] = next(fitting)
            seen[group].add(row[group])
        rows.append(row)
    return rows


def members_of(row: Row, num: int = 2) -> list[Method]:
    """They differ in weights, a learning rate, and where there is one the number of a penalty."""
    members = []
    for index in range(num):
        game, dynamics = game_of(row, AUTOGRAD), dynamics_of(row)
        with torch.random.fork_rng():
            torch.manual_seed(index)
            for network in (game.generator, game.discriminator):
                for parameter in network.module.parameters():
                    parameter.data += 0.1 * torch.rand_like(parameter)
        for name, penalty in game.penalties.items():
            key = "gamma" if name in ("r1", "r2") else "weight"
            path = ("penalties", name, key)
            value = penalty.keywords[key] if isinstance(penalty, partial) else getattr(penalty, key)
            game = with_number(game, path, value * (1 + index / 4))
        inner = ("inner",) if hasattr(dynamics, "inner") else ()
        rule = getattr(getattr(dynamics, "inner", dynamics), "discriminator")  # noqa: B009
        dynamics = with_number(dynamics, (*inner, "discriminator", "lr"), rule.lr * (1 + index / 4))
        members.append(Method(game, dynamics, {"ema": ExponentialAverage(0.9 - index / 10)}))
    return members


@pytest.mark.parametrize("number", range(NUM_ROWS))
def test_members_of_every_choice_are_solo_runs(number):
    row = every_choice_once()[number]
    must_equal_solo(members_of(row), samples_of(row), about=row)


def test_the_rows_hold_every_choice():
    rows = every_choice_once()
    for group, choices in FACTORS.items():
        wanted = FIRST_ORDER if group == "dynamics" else choices
        assert {row[group] for row in rows} >= {*wanted}, group


PLAIN = dict.fromkeys(FACTORS, NOTHING) | {
    "space": "points",
    "loss": "non_saturating",
    "normalization": "none",
    "optimizer": "sgd",
    "regularizer": "r1",
}


@pytest.mark.parametrize("dynamics", SECOND_ORDER)
def test_members_of_second_order_dynamics_are_solo_runs(dynamics):
    row = PLAIN | {"dynamics": dynamics}
    must_equal_solo(members_of(row), samples_of(row))


def small_members(num: int = 3, **changes: Callable[[int], Any]) -> list[Method]:
    """A small pair on points under R1; ``changes`` are of the parts, by member."""

    def parts(index: int) -> Method:
        with torch.random.fork_rng():
            torch.manual_seed(index)
            networks = Network(mlp.Generator(3, (2,), [6], 0.2)), Network(mlp.Discriminator((2,), [6], 0.2))
        game = dirac_gan(NonSaturating(), {"r1": partial(r1, gamma=0.5)})
        game = replace(game, generator=networks[0], discriminator=networks[1])
        made = Method(
            game, Alternating(Adam(1e-2, 0.5), Adam(2e-2, 0.5), 2, 1), {"ema": ExponentialAverage(0.9)}
        )
        return made._replace(**{name: change(index) for name, change in changes.items()})

    return [parts(index) for index in range(num)]


def points() -> Tensor:
    return samples_of({"space": "points"})


def test_members_may_have_learning_rate_schedules_of_their_own():
    schedules = [
        Players(Cosine(10, final=0.1), None),
        Players(Cosine(4), Linear(6, num_warmup_steps=2)),
        Players(None, None),
    ]
    for execution in (EAGER, as_graph):
        must_equal_solo(small_members(schedules=schedules.__getitem__), points(), 4, execution)


def test_members_share_the_rounds_of_a_lazy_penalty_also_where_each_variant_is_a_graph_of_its_own():
    members = [
        parts._replace(game=replace(parts.game, intervals={"regularizer.r1": 3})) for parts in small_members()
    ]
    built = []

    def counted(step: Step) -> Step:
        return traced(step, lambda graph, _: built.append(graph) or graph)

    must_equal_solo(members, points(), 4, counted)
    assert len(built) == 2  # due, and not due


def test_in_a_graph_no_batch_of_products_has_few_columns_for_many_rows():
    graphs: list[Any] = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph

    tall, narrow, low = (torch.rand(3, *shape) for shape in ((20, 5), (5, 2), (4, 5)))

    def step(state: Any, batches: Any, factors: Any, *, round: int) -> Any:
        first, second, third = state
        return (first @ second, first @ second.mT.contiguous().mT, third @ second, first.mT @ first), {}

    found, _ = traced(step, keep)((tall, narrow, low), (), CONSTANT, round=0)
    assert_close(found, (tall @ narrow, tall @ narrow, low @ narrow, tall.mT @ tall))
    calls = [node for node in graphs[0].graph.nodes if node.target is torch.ops.aten.bmm.default]
    shapes = [tuple(node.args[index].meta["tensor_meta"].shape[1:] for index in (0, 1)) for node in calls]
    assert shapes == [((2, 5), (5, 20)), ((2, 5), (5, 20)), ((4, 5), (5, 2)), ((5, 20), (20, 5))]


def test_single_precision_members_are_solo_runs_to_its_round_off():
    """1e-5: 1e-7 a step, which Adam's 1/√v magnifies; and a β that varies is rounded before 1 − β."""
    members = [
        Method(replace(parts.game, **{
            name: Network(getattr(parts.game, name).module.float()) for name in ("generator", "discriminator")
        }), Alternating(Adam(1e-3, 0.5 + index / 10), Adam(1e-3 * (1 + index), 0.5)), parts.averages)
        for index, parts in enumerate(small_members())
    ]  # fmt: skip
    torch.set_default_dtype(torch.float32)
    state, _ = play_lifted(members, points().float(), 5)
    for index, parts in enumerate(members):
        alone, _ = play_solo(index, parts, points().float(), 5)
        found = unstack(state, index)
        assert {leaf.dtype for leaf in found.players} == {torch.float32}
        assert_close(found.players, alone.players, atol=1e-5, rtol=1e-5)


def test_a_member_that_is_not_finite_leaves_the_others_as_they_are():
    def dynamics(bad: float) -> Callable[[int], Any]:
        return lambda index: Simultaneous(SGD(bad if index == 1 else 0.1), SGD(0.1))

    spoiled, _ = play_lifted(small_members(dynamics=dynamics(1e200)), points(), 4)
    sound, _ = play_lifted(small_members(dynamics=dynamics(0.2)), points(), 4)
    assert not flat(unstack(spoiled, 1)).isfinite().all()
    for index in (0, 2):
        assert torch.equal(flat(unstack(spoiled, index)), flat(unstack(sound, index)))


def test_a_member_is_a_copy_of_its_own():
    state, _ = play_lifted(small_members(), points(), 1)
    assert all(
        leaf.untyped_storage().nbytes() == leaf.numel() * leaf.element_size()
        for leaf in torch.utils._pytree.tree_leaves(unstack(state, 1))
    )


# ---- graphs


@pytest.mark.parametrize("number", [0])
def test_a_traced_round_is_an_eager_one(number):
    row = every_choice_once()[number]
    (parts,) = members_of(row, 1)
    data = samples_of(row)
    play, state = (
        solo_rounds(*parts, execution=as_graph),
        start(parts.game, parts.dynamics, parts.averages, CPU),
    )
    for index in range(2):
        state, logs = play(state, batches_of(0, parts, data, index, 4), index)
    alone, logs_alone = play_solo(0, parts, data, 2)
    assert_close(flat(state), flat(alone), **ROUND_OFF)
    assert_close(logs, logs_alone, **ROUND_OFF)
    must_equal_solo(members_of(row), data, execution=as_graph, about=row)


@needs_compiler
@pytest.mark.slow
def test_compiled_members_are_solo_runs():
    dynamics = [Alternating(Adam(1e-2, 0.5), Adam(1e-2 * (1 + index), 0.5)) for index in range(3)]
    must_equal_solo(small_members(dynamics=dynamics.__getitem__), points(), 3, Compiled())


def test_compiling_without_a_compiler_says_what_to_install(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        ValueError, match=r"must find a C\+\+ compiler; got none\. Install one, .*apt install g\+\+"
    ):
        Compiled()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="got CXX=no-such-compiler"):
        Compiled()


# ---- what members may differ in


def test_with_number_copies_all_that_lies_on_the_path_and_nothing_else():
    game = dirac_gan(NonSaturating(), {"r1": partial(r1, gamma=0.5), "gp": partial(wgan_gp, weight=2.0)})
    assert game.num_uniform((1,)) == {}  # fills what the game caches of its parts
    bound = with_number(game, ("penalties", "r1", "gamma"), 3.0)
    assert (bound.penalties["r1"].keywords, game.penalties["r1"].keywords) == ({"gamma": 3.0}, {"gamma": 0.5})
    assert bound.penalties["gp"] is game.penalties["gp"]
    (batch,) = [dirac_batch(3)]
    ours, theirs = (one.discriminator_loss(one.init(), batch)[1]["penalty/r1"] for one in (bound, game))
    assert_close(ours, 6 * theirs)


def test_with_number_asks_for_no_check_of_a_tensor():
    clamping = with_number(JacobianClamping(1.0, low=1.0), ("low",), torch.tensor([1.0, 2.0]))
    assert clamping.low.tolist() == [1.0, 2.0]


def test_numbers_that_differ_are_found_and_equal_ones_are_not():
    members = [
        Method(
            dirac_gan(LeastSquares(1.0, fake), {"r1": partial(r1, gamma=gamma)}),
            Simultaneous(SGD(lr), SGD(0.1)),
            {},
        )
        for fake, gamma, lr in [(0.0, 1, 0.1), (-1.0, 0.5, 0.1)]
    ]
    assert differing(members) == {
        ("game", "loss", "fake_target"): [0.0, -1.0],
        ("game", "penalties", "r1", "gamma"): [1.0, 0.5],
    }


def network(hidden: list[int], slope: float) -> Network:
    return Network(mlp.Discriminator((2,), hidden, slope))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (*(Alternating(SGD(0.1), SGD(0.1), n) for n in (1, 2)), "num_discriminator_steps they are 1 and 2"),
        (SGD(0.1), Adam(0.1), "not of one kind"),
        (UniformAverage(1), UniformAverage(2), "num_skipped they are 1 and 2, and a whole number"),
        ({"r1": partial(r1, gamma=1.0)}, {"r1": partial(wgan_gp, weight=1.0)}, "not of one kind"),
        ({"a": 1.0}, {"b": 1.0}, "not the same names"),
        (network([4], 0.2), network([4], 0.1), "LeakyReLU.*decides the function"),
        (network([4], 0.2), network([5], 0.2), "decides the function"),
        (network([4], 0.2), network([4, 4], 0.2), "not the same layers"),
    ],
)  # fmt: skip
def test_what_decides_shapes_or_control_flow_is_refused(first, second, message):
    with pytest.raises(Unlike, match=message):
        differing([first, second])


def test_lifting_refuses_members_that_differ_in_more_than_numbers():
    members = small_members(
        2, dynamics=[Simultaneous(SGD(0.1), SGD(0.1)), Alternating(SGD(0.1), SGD(0.1))].__getitem__
    )
    with pytest.raises(Unlike, match=r"at dynamics they are Simultaneous.* and Alternating"):
        lift(members, torch.zeros(()))
