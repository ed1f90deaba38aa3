"""Time Saddle against what else there is, side by side, and print ratios as JSON.

``benchmark.py step`` trains through Lightning with logging on, and between its chunks plays as many
steps of a hand-written loop of the same arithmetic. A ratio is hand-written time over ours: above 1
means that ours is faster. Machines are noisy: what is compared alternates, and medians are taken of
chunk-by-chunk ratios.

``benchmark.py normalization`` plays rounds with and without spectral normalization of the discriminator in
turn; its ratio is the time with it over the time without.

``benchmark.py metrics`` computes metrics of the same features by Saddle and by other libraries, each in a
process of its own that says its peak memory; the processes take turns, round after round. A ratio is the
other's time over ours.

``benchmark.py ensemble`` plays rounds of 8 members as one compiled step, as one eager step, and one after
another; its ratios are the last over the others.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from saddle.commands.pipes import ending_with_its_reader

CASES = {
    "ring8/mlp": ["data=ring8", "model=mlp", "batch_size=256"],
    "mnist5k/dcgan28": ["data=mnist5k", "model=dcgan28", "batch_size=64"],
}


@ending_with_its_reader()
def main() -> None:
    """Entry point; torch is imported only once there is work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["step", "normalization", "ensemble", "metrics"])
    parser.add_argument("--chunks", type=int, default=40, help="pairs of chunks to time (default 40)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="CPU threads (default 1 2)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each process (default 3)")
    parser.add_argument("--cases", nargs="+", help="some of the cases; all by default")
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()

    import benchmark_metrics
    from saddle.data.files import atomic_write
    from saddle.records.provenance import provenance

    runs: dict[str, tuple[Mapping[str, Any], Callable[[str], list[dict[str, Any]]]]] = {
        "step": (
            CASES,
            lambda case: [
                time_steps(case, penalty, threads, arguments.chunks)
                for penalty in PENALTIES
                for threads in arguments.threads
            ],
        ),
        "normalization": (
            CASES,
            lambda case: [
                time_normalization(case, threads, arguments.chunks) for threads in arguments.threads
            ],
        ),
        "ensemble": (
            CASES,
            lambda case: [time_ensemble(case, threads, arguments.chunks) for threads in arguments.threads],
        ),
        "metrics": (
            benchmark_metrics.CASES,
            lambda case: [benchmark_metrics.time_case(case, arguments.rounds)],
        ),
    }
    known, measure = runs[arguments.what]
    cases = arguments.cases or list(known)
    if not {*cases} <= known.keys():
        parser.error(f"--cases must be among {', '.join(known)}; got {', '.join(cases)}")
    made_from = provenance(sys.argv, None)  # before the work: it says when that began
    results = [result for case in cases for result in measure(case)]
    content = {"results": results, "provenance": made_from}
    text = json.dumps(content, indent=2)
    print(text)
    if arguments.output:
        atomic_write(arguments.output, text + "\n")


Logits = tuple[Any, Any, Any]  # of real samples, of fake ones, and the penalty


def with_r1(discriminator: Any, real: Any, fake: Any, mix: Any, *, gamma: float) -> Logits:
    """½γ·E‖∇D(x)‖² at real samples, whose forward pass the loss shares."""
    real = real.detach().requires_grad_(True)
    real_logits, fake_logits = discriminator(real), discriminator(fake)
    return real_logits, fake_logits, 0.5 * gamma * squared_slope(real_logits, real).mean()


def with_r2(discriminator: Any, real: Any, fake: Any, mix: Any, *, gamma: float) -> Logits:
    """½γ·E‖∇D(G(z))‖² at generated samples, likewise."""
    fake = fake.detach().requires_grad_(True)
    real_logits, fake_logits = discriminator(real), discriminator(fake)
    return real_logits, fake_logits, 0.5 * gamma * squared_slope(fake_logits, fake).mean()


def with_wgan_gp(
    discriminator: Any, real: Any, fake: Any, mix: Any, *, weight: float, target: float
) -> Logits:
    """λ·E(‖∇D(x̂)‖ − target)² on interpolates, which are a third batch."""
    mix = mix.view(-1, *[1] * (real.ndim - 1))
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    slope = (squared_slope(discriminator(between), between) + 1e-12).sqrt()
    return discriminator(real), discriminator(fake), weight * (slope - target).square().mean()


def squared_slope(logits: Any, samples: Any) -> Any:
    """‖∇D‖² at each sample, (N,)."""
    import torch

    (slope,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
    return slope.flatten(1).square().sum(1)


PENALTIES: dict[str, Callable[..., Logits]] = {"r1": with_r1, "r2": with_r2, "wgan_gp": with_wgan_gp}


def hand_written(
    generator: Any,
    discriminator: Any,
    penalized: Callable[..., Logits],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    ema: float,
) -> Any:
    """A careful plain PyTorch training step: non-saturating loss, a penalty, Adam, EMA, torch.optim.

    ``penalized`` is (discriminator, real, fake, mix) -> logits and penalty. D's parameters take no gradient
    in the generator's step.
    """
    from copy import deepcopy

    import torch
    import torch.nn.functional as F

    average = deepcopy(generator)
    optimizers = [
        torch.optim.Adam(net.parameters(), lr, (beta1, beta2)) for net in (generator, discriminator)
    ]
    count = 0

    def step(real: Any, latent: Any, next_latent: Any, mix: Any) -> Any:
        nonlocal count
        discriminator.requires_grad_(True)
        with torch.no_grad():
            fake = generator(latent)
        real_logits, fake_logits, penalty = penalized(discriminator, real, fake, mix)
        loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        optimizers[1].zero_grad()
        (loss + penalty).backward()
        optimizers[1].step()

        discriminator.requires_grad_(False)
        generator_loss = F.softplus(-discriminator(generator(next_latent))).mean()
        optimizers[0].zero_grad()
        generator_loss.backward()
        optimizers[0].step()
        beta = min(ema, (1 + count) / (10 + count))
        count += 1
        with torch.no_grad():
            for mean, value in zip(average.parameters(), generator.parameters(), strict=True):
                mean.lerp_(value, 1 - beta)
        return loss.detach(), generator_loss.detach()

    step.average = average  # type: ignore[attr-defined]
    return step


def time_normalization(case: str, threads: int, num_chunks: int) -> dict[str, Any]:
    """What spectral normalization of D adds to a round, playing rounds with and without it in turn."""
    import hydra
    import torch

    from saddle.training.assembly import assemble
    from saddle.training.configuration import config_directory
    from saddle.training.module import Chunk, GANModule, Pace

    torch.set_num_threads(threads)
    key = "normalization@model.discriminator.normalization"
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        experiments = [
            assemble(hydra.compose("train", [*CASES[case], "name=benchmark", f"{key}={choice}"]))
            for choice in ("none", "spectral")
        ]
    size, warm_up = 10, 3
    modules = [GANModule([one.member], Pace(size)) for one in experiments]
    seconds: list[list[float]] = [[], []]
    for module in modules:
        module.on_fit_start()
    for chunk in range(num_chunks + warm_up):
        for module, times in zip(modules, seconds, strict=True):
            began = time.perf_counter()
            # reads its losses, so it waits for a GPU
            module.play(Chunk(module.members, range(chunk * size, (chunk + 1) * size)))
            times.append((time.perf_counter() - began) / size)
    plain, spectral = (times[warm_up:] for times in seconds)
    ratios = [with_it / without for without, with_it in zip(plain, spectral, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "case": f"{case}, spectral normalization",
        "threads": threads,
        "chunks": len(ratios),
        "without_ms_per_step": round(1e3 * statistics.median(plain), 3),
        "with_ms_per_step": round(1e3 * statistics.median(spectral), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
    }


def time_steps(case: str, penalty: str, threads: int, num_chunks: int) -> dict[str, Any]:
    """Milliseconds a step of both, and their ratio, on ``threads`` CPU threads or the GPU."""
    import logging
    from copy import deepcopy

    import hydra
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from pytorch_lightning import Callback, Trainer

    from saddle.records import record as records
    from saddle.training import trackers as tracking
    from saddle.training.assembly import assemble
    from saddle.training.callbacks import Recording
    from saddle.training.configuration import config_directory
    from saddle.training.module import GANModule
    from saddle.training.recorder import Recorder

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.set_num_threads(threads)
    warm_up = 3
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        overrides = [*CASES[case], "name=benchmark", f"regularizer=[{penalty}]"]
        config = hydra.compose("train", overrides)
    size = config.steps_per_execution
    config.num_steps = size * (num_chunks + warm_up)
    config.evaluate_every = config.checkpoint_every = config.num_steps
    experiment = assemble(config)
    member, source = experiment.member, experiment.dataset.train
    data = source.first(len(source))
    module = GANModule([member], experiment.pace, experiment.execution)
    adam = config.optimizer.generator
    taken = config.regularizer[penalty]
    numbers: Any = {
        key: taken[key] for key in taken if key not in ("_target_", "_partial_", "every_n_steps", "one_sided")
    }
    settings: Any = OmegaConf.to_container(config.trainer)
    step: Any = None
    ours: list[float] = []
    theirs: list[float] = []

    class Alternate(Callback):
        """After each chunk of ours, as many steps of the hand-written loop. Comes last of all callbacks."""

        def on_train_start(self, trainer: Trainer, module: Any) -> None:
            nonlocal step
            networks = [deepcopy(net).to(module.device) for net in module.networks]
            step = hand_written(
                networks[0],
                networks[1],
                partial(PENALTIES[penalty], **numbers),
                lr=adam.lr,
                beta1=adam.beta1,
                beta2=adam.beta2,
                ema=config.ema,
            )
            self.data = data.to(module.device)
            self.began = now()

        def on_train_batch_end(
            self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            middle = now()
            for _ in batch.rounds:
                num = member.batch_size
                real = self.data[torch.randint(len(self.data), (num,), device=self.data.device)]
                latents = [
                    torch.randn(num, config.model.latents.size, device=self.data.device) for _ in range(2)
                ]
                losses = step(real, *latents, torch.rand(num, device=self.data.device))
            [float(loss) for loss in losses]  # it, too, reads its losses once a chunk
            end = now()
            if batch_idx >= warm_up:
                ours.append((middle - self.began) / len(batch.rounds))
                theirs.append((end - middle) / len(batch.rounds))
            self.began = now()

    def now() -> float:
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        record = records.create(Path(folder) / "run", OmegaConf.to_yaml(config), {"run_id": "benchmark"})
        identity = tracking.Identity("benchmark", "benchmark", 0, [], "benchmark")
        loggers = [instantiate(config.logger.wandb)(record.directory, identity, {})]
        recorder = Recorder(record, config, experiment, loggers)
        trainer = Trainer(
            **settings,
            max_epochs=1,
            logger=False,
            callbacks=[Recording([recorder], lambda _: None), Alternate()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module)
        loggers[0].experiment.finish()
    ratios = [hand / own for own, hand in zip(ours, theirs, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "case": case,
        "penalty": penalty,
        "device": module.device.type,
        "threads": threads,
        "steps_per_chunk": size,
        "chunks": len(ratios),
        "ours_ms_per_step": round(1e3 * statistics.median(ours), 3),
        "hand_written_ms_per_step": round(1e3 * statistics.median(theirs), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
    }


def time_ensemble(case: str, threads: int, num_chunks: int, num_members: int = 8) -> dict[str, Any]:
    """Milliseconds a round of all members, lifted and one after another, batches drawn for each included."""
    import hydra
    import torch
    from omegaconf import OmegaConf
    from torch import Tensor

    from saddle.rounds.execution import EAGER, Compiled, eager
    from saddle.rounds.lifting import together
    from saddle.training.assembly import assemble
    from saddle.training.configuration import config_directory

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    experiments: list[Any] = []
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        for seed in range(num_members):
            config = hydra.compose("train", [*CASES[case], "name=benchmark", f"seed={seed}"])
            resolved: Any = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
            experiments.append(assemble(resolved, experiments[0] if experiments else None))
    members = [experiment.member for experiment in experiments]
    for member in members:
        member.dataset = members[0].dataset
        member.begin(device)
    methods = [member.method for member in members]
    solo = [eager(*method) for method in methods]
    compiled, lifted = (
        together(methods, execution, members[0].state.players.generator) for execution in (Compiled(), EAGER)
    )
    start = compiled.join([member.state for member in members])
    began = time.perf_counter()
    compiled.play(start, compiled.join([member.draw(0) for member in members]), 0)
    seconds_to_compile = time.perf_counter() - began
    size = 10
    # the first is wall-clock; the other does not see what else a shared machine is doing
    clocks = (time.perf_counter, time.process_time)
    states = {"compiled": start, "lifted": start}
    apart = [member.state for member in members]

    def look(logs: dict[str, Tensor]) -> None:
        torch.stack([*logs.values()]).tolist()  # losses are read once a chunk

    def at_once(kind: str, step: Any, first: int) -> list[float]:
        began = [clock() for clock in clocks]
        for index in range(first, first + size):
            batches = step.join([member.draw(index) for member in members])
            states[kind], logs = step.play(states[kind], batches, index)
        look(logs)
        return [(clock() - start) / size for clock, start in zip(clocks, began, strict=True)]

    def one_after_another(first: int) -> list[float]:
        began = [clock() for clock in clocks]
        for number, (member, play) in enumerate(zip(members, solo, strict=True)):
            for index in range(first, first + size):
                apart[number], logs = play(apart[number], member.draw(index), index)
            look(logs)
        return [(clock() - start) / size for clock, start in zip(clocks, began, strict=True)]

    rows = []
    for chunk in range(num_chunks + 1):
        first = chunk * size
        rows.append(
            (
                one_after_another(first),
                at_once("compiled", compiled, first),
                at_once("lifted", lifted, first),
            )
        )
    rows = rows[1:]  # the first warms up
    kinds = ("one_after_another", "compiled", "eager_lifted")

    def figures(clock: int) -> dict[str, Any]:
        columns = dict(
            zip(kinds, zip(*([kind[clock] for kind in row] for row in rows), strict=True), strict=True)
        )
        found: dict[str, Any] = {
            "ms_per_round_of_all": {kind: round(1e3 * statistics.median(columns[kind]), 2) for kind in kinds}
        }
        for kind in kinds[1:]:
            ratios = [solo / own for solo, own in zip(columns[kinds[0]], columns[kind], strict=True)]
            quartiles = statistics.quantiles(ratios, n=4)
            found[f"ratio_{kind}"] = round(statistics.median(ratios), 3)
            found[f"ratio_{kind}_quartiles"] = [round(quartiles[0], 3), round(quartiles[2], 3)]
        return found

    return {
        "case": case,
        "device": device.type,
        "threads": threads,
        "members": num_members,
        "chunks": len(rows),
        "rounds_per_chunk": size,
        "seconds_to_compile": round(seconds_to_compile, 1),
        "wall_clock": figures(0),
        "processor_time": figures(1),
    }


if __name__ == "__main__":
    main()
