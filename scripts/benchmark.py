"""Time Saddle against what else there is, side by side, and print ratios as JSON.

``benchmark.py step`` trains through Lightning with logging on, and between its chunks plays as many
steps of a hand-written loop of the same arithmetic. A ratio is hand-written time over ours: above 1
means that ours is faster. Machines are noisy: the two alternate, and medians are taken of
chunk-by-chunk ratios.

``benchmark.py metrics`` computes metrics of the same features by Saddle and by other libraries, each in a
process of its own that says its peak memory; the processes take turns, round after round. A ratio is the
other's time over ours.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CASES = {
    "ring8/mlp": ["data=ring8", "model=mlp", "batch_size=256"],
    "mnist5k/dcgan28": ["data=mnist5k", "model=dcgan28", "batch_size=64"],
}


def main() -> None:
    """Entry point; torch is imported only once there is work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["step", "metrics"])
    parser.add_argument("--chunks", type=int, default=40, help="pairs of chunks to time (default 40)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="CPU threads (default 1 2)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each process (default 3)")
    parser.add_argument("--cases", nargs="+", help="some of the cases; all by default")
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()

    import benchmark_metrics
    from saddle.provenance import provenance
    from saddle.records import atomic_write

    runs: dict[str, tuple[Mapping[str, Any], Callable[[str], list[dict[str, Any]]]]] = {
        "step": (
            CASES,
            lambda case: [time_steps(case, threads, arguments.chunks) for threads in arguments.threads],
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


def hand_written(
    generator: Any, discriminator: Any, *, lr: float, beta1: float, beta2: float, gamma: float, ema: float
) -> Any:
    """A careful plain PyTorch training step: non-saturating loss, R1, Adam, EMA; modules and torch.optim.

    The forward pass on real samples is shared between loss and penalty, and D's parameters take no
    gradient in the generator's step.
    """
    from copy import deepcopy

    import torch
    import torch.nn.functional as F

    average = deepcopy(generator)
    optimizers = [
        torch.optim.Adam(net.parameters(), lr, (beta1, beta2)) for net in (generator, discriminator)
    ]
    count = 0

    def step(real: Any, latent: Any, next_latent: Any) -> Any:
        nonlocal count
        discriminator.requires_grad_(True)
        real = real.detach().requires_grad_(True)
        with torch.no_grad():
            fake = generator(latent)
        real_logits, fake_logits = discriminator(real), discriminator(fake)
        (slope,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
        penalty = 0.5 * gamma * slope.flatten(1).square().sum(1).mean()
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


def time_steps(case: str, threads: int, num_chunks: int) -> dict[str, Any]:
    """Milliseconds a step of both, and their ratio, on ``threads`` CPU threads or the GPU."""
    import logging
    from copy import deepcopy

    import hydra
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from pytorch_lightning import Callback, Trainer

    from saddle import records, tracking
    from saddle.callbacks import Log, Stopwatch
    from saddle.commands.compose import assemble
    from saddle.commands.entry import config_directory

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.set_num_threads(threads)
    warm_up = 3
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        overrides = [*CASES[case], "name=benchmark", "evaluate_every=1000000", "checkpoint_every=1000000"]
        config = hydra.compose("train", overrides)
    size = config.steps_per_execution
    config.num_steps = size * (num_chunks + warm_up)
    config.evaluate_every = config.checkpoint_every = config.num_steps
    experiment = assemble(config)
    module, data = experiment.module, experiment.dataset.train
    adam = config.optimizer.generator
    settings: Any = OmegaConf.to_container(config.trainer)
    step: Any = None
    ours: list[float] = []
    theirs: list[float] = []

    class Alternate(Callback):
        """After each chunk of ours, as many steps of the hand-written loop. Comes last of all callbacks."""

        def on_train_start(self, trainer: Trainer, module: Any) -> None:
            nonlocal step
            networks = [deepcopy(net).to(module.device) for net in (module.generator, module.discriminator)]
            step = hand_written(
                *networks,
                lr=adam.lr,
                beta1=adam.beta1,
                beta2=adam.beta2,
                gamma=config.regularizer.r1.gamma,
                ema=config.ema,
            )
            self.data = data.to(module.device)
            self.began = now()

        def on_train_batch_end(
            self, trainer: Trainer, module: Any, outputs: Any, batch: range, batch_idx: int
        ) -> None:
            middle = now()
            for _ in batch:
                num = module.batch_size
                real = self.data[torch.randint(len(self.data), (num,), device=self.data.device)]
                latents = [
                    torch.randn(num, config.model.latents.size, device=self.data.device) for _ in range(2)
                ]
                losses = step(real, *latents)
            [float(loss) for loss in losses]  # it, too, reads its losses once a chunk
            end = now()
            if batch_idx >= warm_up:
                ours.append((middle - self.began) / len(batch))
                theirs.append((end - middle) / len(batch))
            self.began = now()

    def now() -> float:
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        record = records.create(Path(folder) / "run", OmegaConf.to_yaml(config), {"run_id": "benchmark"})
        identity = tracking.Identity("benchmark", "benchmark", 0, [], "benchmark")
        loggers = [instantiate(config.logger.wandb)(record.directory, identity, {})]
        trainer = Trainer(
            **settings,
            max_epochs=1,
            logger=loggers,
            callbacks=[Log(record, Stopwatch()), Alternate()],
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
        "device": module.device.type,
        "threads": threads,
        "steps_per_chunk": size,
        "chunks": len(ratios),
        "ours_ms_per_step": round(1e3 * statistics.median(ours), 3),
        "hand_written_ms_per_step": round(1e3 * statistics.median(theirs), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
    }


if __name__ == "__main__":
    main()
