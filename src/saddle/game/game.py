"""A GAN as a game: what each player minimises, and its gradient, as pure functions of two vectors.

A player is one vector that holds all of its network's parameters; the module itself is a template
without memory. Losses, dynamics, averages and linearization therefore work on plain vectors, and
the Dirac-GAN with its two numbers runs through the same code as an image GAN with millions.

*Gradient* is what a player descends; the game's vector field is its negative (Mescheder 2018).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor

from saddle.game.calculus import AUTOGRAD, BoundDiscriminator, Calculus, Function, Logs
from saddle.game.network import Network
from saddle.game.refusals import Refused


class Players(NamedTuple):
    """Parameters of both players, or anything that each of them has one of."""

    generator: Any  # Tensor (P,) as parameters and as gradients
    discriminator: Any  # Tensor (Q,)


class Batch(NamedTuple):
    """Everything random that one gradient needs. Nothing below this line draws a number."""

    real: Tensor  # (N, *event): (2,) for points, (C, H, W) for images
    latent: Tensor  # (N, d)
    mix: Tensor  # (N,), uniform on [0, 1): weights for penalties on interpolates
    uniform: Players = Players({}, {})  # each a dict, buffer name -> uniform numbers (N, num_uniform)
    draws: Mapping[str, Tensor] = {}  # part of the game -> uniform numbers (N, num_uniform)
    labels: tuple[Tensor, ...] = ()  # see ``label``; empty and not None, which would be a leaf of the tree

    @property
    def label(self) -> Tensor | None:
        """Class of each real sample, (N,) int64; None where the data has none.

        The i-th generated sample is asked for the class of the i-th real one.
        """
        return self.labels[0] if self.labels else None


class AdversarialLoss(Protocol):
    """What both players minimise, from logits; see ``saddle.game.losses``.

    One that is blind to a common shift of all logits says so by ``shift_invariant = True``.
    """

    @property
    def paired(self) -> bool: ...
    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor: ...
    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor: ...


class Part(Protocol):
    """A penalty or transform. Most are plain functions; some also declare, as dataclasses,

    - ``num_uniform(event) -> int``: how many uniform numbers a sample needs. They arrive as the keyword
      ``uniform`` (N, num_uniform);
    - ``init(like) -> memory`` and ``advance(memory, logs) -> memory``: a memory from round to round,
      tensors like ``like``. It arrives as the keyword ``memory`` and is advanced once a round, from what
      the round logged;
    - ``report(memory) -> logs``: what of its memory to log, with the discriminator's loss;
    - ``sees_generator = True``, of a penalty on D: the keyword ``generator`` is the present G as a function,
      latents (N, d) -> packed samples.

    A penalty returns a scalar, or a scalar and what else to log: the seed of its memory's next value.

    Any part may say what it cannot stand with and what it advises, by ``conflicts(composition) -> sentences``
    and ``advice(composition) -> sentences``; see ``saddle.game.composition``. A function is given them by
    ``says``.
    """

    def __call__(self, *arguments: Any, **extras: Any) -> Any: ...


Spoken = TypeVar("Spoken", bound=Callable[..., Any])


def says(**sayings: Any) -> Callable[[Spoken], Spoken]:
    """Put attributes on a plain function: its ``conflicts``, its ``advice``, and what others ask of it."""

    def put(function: Spoken) -> Spoken:
        for name, saying in sayings.items():
            setattr(function, name, saying)
        return function

    return put


@dataclass(frozen=True)
class Game:
    """Two networks, an adversarial loss, penalties, and transforms of what the discriminator sees.

    L_D = loss.discriminator(D(Tx), D(TG(z))) + Σ penalties,
    L_G = loss.generator(D(TG(z))[, D(Tx)]) + Σ generator penalties, T the transforms in order.

    Only a paired loss evaluates D on real samples in the generator's loss. Penalties on D see D∘T.

    A conditional network is bound together with the batch's labels: losses, penalties and dynamics see
    functions of latents and of samples alone.

    Args:
        penalties: on D: (bound discriminator, batch, fake) -> scalar; see ``Part`` for more.
        generator_penalties: on G: (game, players, batch, fake) -> scalar; likewise.
        transforms: samples -> samples, differentiable, of real and generated ones alike.
        pack: m samples are shown to D as one, along the first axis of an event (PacGAN; Lin et al. 2018,
            arXiv:1712.04086). Divides the batch size.
        memory: of the parts that have one, by name; see ``remember``.
        intervals: of lazy penalties: part -> n, such as ``regularizer.r1`` -> 16. It is taken every n
            rounds, from round 0 on, with n times its weight (Karras et al. 2020, arXiv:1912.04958, sec. 3.1).
        round: the index of the round; see ``at``.

    Raises:
        ValueError: a conditional player is shown packs; or, when it is bound, a batch without labels.
    """

    generator: Network
    discriminator: Network
    loss: AdversarialLoss
    penalties: Mapping[str, Part] = field(default_factory=dict)
    calculus: Calculus = AUTOGRAD
    generator_penalties: Mapping[str, Part] = field(default_factory=dict)
    transforms: Mapping[str, Part] = field(default_factory=dict)
    pack: int = 1
    memory: Mapping[str, Any] = field(default_factory=dict)
    intervals: Mapping[str, int] = field(default_factory=dict)
    round: int = 0

    def __post_init__(self) -> None:
        if self.pack > 1 and (self.generator.conditional or self.discriminator.conditional):
            raise Refused(
                "a conditional player must see samples one by one, each with its class; got "
                f"pack={self.pack}. Take pack=1, or networks without classes."
            )

    @cached_property
    def _parts(self) -> dict[str, Part]:
        return {
            **{f"regularizer.{name}": part for name, part in self.penalties.items()},
            **{f"generator_regularizer.{name}": part for name, part in self.generator_penalties.items()},
            **{f"transform.{name}": part for name, part in self.transforms.items()},
        }

    def num_uniform(self, event: tuple[int, ...]) -> dict[str, int]:
        """Part -> how many uniform numbers a sample needs there, for samples of shape ``event``."""
        return {
            name: part.num_uniform(event)
            for name, part in self._parts.items()
            if hasattr(part, "num_uniform")
        }

    def init(self) -> Players:
        """Both players as their modules stand."""
        return Players(self.generator.flatten(), self.discriminator.flatten())

    def init_memory(self, players: Players) -> dict[str, Any]:
        """The memory of every part and of both networks before the first round."""
        parts = {
            name: part.init(players.generator) for name, part in self._parts.items() if hasattr(part, "init")
        }
        networks = {
            "generator": self.generator.init_memory(),
            "discriminator": self.discriminator.init_memory(),
        }
        device = players.generator.device
        return parts | {
            name: {key: value.to(device) for key, value in memory.items()}
            for name, memory in networks.items()
            if memory
        }

    def at(self, index: int) -> "Game":
        """The game of the round ``index``, which decides what of its lazy penalties is due."""
        return replace(self, round=index) if self.intervals else self

    def functional(self) -> "Game":
        """The same game under ``torch.func``, to be lifted, compiled or differentiated again."""
        return replace(self, calculus=self.calculus.functional())

    def remember(self, memory: Mapping[str, Any]) -> "Game":
        """The same game with this memory, which stays what it is for a round."""
        return replace(self, memory=memory) if memory else self

    def advance_memory(self, memory: Mapping[str, Any], players: Players, logs: Logs) -> dict[str, Any]:
        """The memory after a round that led to ``players`` and logged ``logs``."""
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        return {
            name: networks[name].advance_memory(value, getattr(players, name))
            if name in networks
            else self._parts[name].advance(value, logs)  # type: ignore[attr-defined]
            if self._is_due(name)
            else value
            for name, value in memory.items()
        }

    def generate(self, players: Players, batch: Batch) -> Tensor:
        """G(z), shape (N, *event)."""
        return self.bind_generator(players, batch)(batch.latent)

    def bind_generator(self, players: Players, batch: Batch) -> Function:
        """Latents (N, d) -> samples (N, *event), of the batch's classes if the generator is conditional."""
        buffers = {**batch.uniform.generator, **self.memory.get("generator", {})}
        return self.generator.bind_to(batch.label, players.generator, buffers)

    def bind_discriminator(self, players: Players, batch: Batch) -> BoundDiscriminator:
        """Packed samples (N/m, m·C, ...) -> logits (N/m,), transforms included."""
        # a pack is one sample to D's own layers
        draws = {name: draw[: len(draw) // self.pack] for name, draw in batch.uniform.discriminator.items()}
        buffers = {**draws, **self.memory.get("discriminator", {})}
        network = self.discriminator.bind_to(batch.label, players.discriminator, buffers)
        weights = partial(self.discriminator.matrices, players.discriminator)
        if not self.transforms:
            return BoundDiscriminator(network, self.calculus, weights)

        def see(samples: Tensor) -> Tensor:
            event = (samples.shape[1] // self.pack, *samples.shape[2:])
            samples = samples.reshape(-1, *event)  # each sample of a pack is transformed on its own
            for name, transform in self.transforms.items():
                samples = transform(samples, **self._extras(f"transform.{name}", batch))
            return network(self.packed(samples))

        return BoundDiscriminator(see, self.calculus, weights)

    def packed(self, samples: Tensor) -> Tensor:
        """(N, C, ...) -> (N/m, m·C, ...)."""
        if self.pack == 1:
            return samples
        return samples.reshape(-1, self.pack * samples.shape[1], *samples.shape[2:])

    def discriminator_loss(self, players: Players, batch: Batch) -> tuple[Tensor, Logs]:
        """L_D, and what is logged with it.

        ``diag/real_logit`` and ``diag/fake_logit`` are E D(x) and E D(G(z)). Under a loss that is blind to a
        common shift of all logits the common mean c = ½(E D(x) + E D(G(z))) is subtracted from both: nothing
        but round-off decides it, which an adaptive optimizer makes steps of full length from. They are then
        ±½(E D(x) − E D(G(z))). ``diag/real_sign``, E sign D(x), is of the logits as they are.
        """
        real = self.packed(batch.real)
        batch = batch._replace(real=real, mix=batch.mix[: len(real)])
        generate = self.bind_generator(players, batch)

        def generator(latents: Tensor) -> Tensor:
            return self.packed(generate(latents))

        fake = generator(batch.latent)
        discriminator = self.bind_discriminator(players, batch)
        # penalties first: their slopes leave logits behind for the loss
        penalties, seen = _apart({
            name: self._value(f"regularizer.{name}", penalty, (discriminator, batch, fake), batch, generator)
            for name, penalty in self.penalties.items()
        })  # fmt: skip
        real_logits, fake_logits = discriminator(batch.real), discriminator(fake)
        adversarial = self.loss.discriminator(real_logits, fake_logits)
        real_mean, fake_mean = real_logits.mean(), fake_logits.mean()
        if getattr(self.loss, "shift_invariant", False):
            half_gap = 0.5 * (real_mean - fake_mean)
            real_mean, fake_mean = half_gap, -half_gap
        logs = {
            "loss/discriminator": adversarial,
            **{f"penalty/{name}": value for name, value in penalties.items()},
            "diag/real_logit": real_mean,
            "diag/fake_logit": fake_mean,
            "diag/real_sign": real_logits.sign().mean(),
            **self._reports(),
            **seen,
        }
        return sum(penalties.values(), adversarial), _detached(logs)

    def generator_loss(self, players: Players, batch: Batch) -> tuple[Tensor, Logs]:
        discriminator = self.bind_discriminator(players, batch)
        fake = self.generate(players, batch)
        fake_logits = discriminator(self.packed(fake))
        real_logits = discriminator(self.packed(batch.real)) if self.loss.paired else None
        adversarial = self.loss.generator(fake_logits, real_logits)
        penalties, seen = _apart({
            name: self._value(f"generator_regularizer.{name}", penalty, (self, players, batch, fake), batch)
            for name, penalty in self.generator_penalties.items()
        })  # fmt: skip
        logs = {
            "loss/generator": adversarial,
            **{f"penalty/generator_{name}": value for name, value in penalties.items()},
            **seen,
        }
        return sum(penalties.values(), adversarial), _detached(logs)

    def _reports(self) -> Logs:
        """What parts say of the memory that they have in this round."""
        return {
            key: value
            for name, memory in self.memory.items()
            if hasattr(part := self._parts.get(name), "report")
            for key, value in part.report(memory).items()  # type: ignore[union-attr]
        }

    def _is_due(self, part: str) -> bool:
        return self.round % self.intervals.get(part, 1) == 0

    def _value(
        self,
        name: str,
        part: Part,
        arguments: tuple[Any, ...],
        batch: Batch,
        generator: Function | None = None,
    ) -> tuple[Tensor, Logs]:
        """A penalty in this round, 0 where it is not due and made up for where it is, and what it logs."""
        if not self._is_due(name):
            return batch.real.new_zeros(()), {}
        found: Any = part(*arguments, **self._extras(name, batch, generator))
        value, logs = found if isinstance(found, tuple) else (found, {})
        interval = self.intervals.get(name, 1)
        return value if interval == 1 else interval * value, logs

    def _extras(self, part: str, batch: Batch, generator: Function | None = None) -> dict[str, Any]:
        """The random numbers, the memory and the generator that a part asked for."""
        extras: dict[str, Any] = {}
        if getattr(self._parts[part], "sees_generator", False):
            extras["generator"] = generator
        if part in batch.draws:
            extras["uniform"] = batch.draws[part]
        if part in self.memory:
            extras["memory"] = self.memory[part]
        return extras

    def discriminator_gradient(self, players: Players, batch: Batch) -> tuple[Tensor, Logs]:
        """∇_ψ L_D, shape (Q,)."""
        return self.calculus.gradient(
            lambda vector, part: self.discriminator_loss(players._replace(discriminator=vector), part),
            players.discriminator,
            batch,
        )

    def generator_gradient(self, players: Players, batch: Batch) -> tuple[Tensor, Logs]:
        """∇_θ L_G, shape (P,)."""
        return self.calculus.gradient(
            lambda vector, part: self.generator_loss(players._replace(generator=vector), part),
            players.generator,
            batch,
        )

    def gradients(self, players: Players, batch: Batch) -> tuple[Players, Logs]:
        """Both gradients at the same point on the same batch."""
        discriminator, discriminator_logs = self.discriminator_gradient(players, batch)
        generator, generator_logs = self.generator_gradient(players, batch)
        return Players(generator, discriminator), {**discriminator_logs, **generator_logs}


def _apart(found: Mapping[str, tuple[Tensor, Logs]]) -> tuple[dict[str, Tensor], Logs]:
    """Values by name, and all logs in one."""
    seen = {key: value for _, logs in found.values() for key, value in logs.items()}
    return {name: value for name, (value, _) in found.items()}, seen


def _detached(logs: Logs) -> Logs:
    return {name: value.detach() for name, value in logs.items()}
