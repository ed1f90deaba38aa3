"""Train the digit classifier that judges images, and store its weights in the package.

    python scripts/train_classifier.py mnist5k
    python scripts/train_classifier.py digits

Trains on the train split alone, with small random distortions, and refuses to store weights whose
accuracy on the held-out split is too low. A few minutes on one core.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from saddle.commands.pipes import ending_with_its_reader

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from saddle.data.dataset import Dataset
    from saddle.models.classifier import DigitClassifier

LEAST_ACCURACY = {"mnist5k": 0.98, "digits": 0.97}  # digits: 359 held out, so one error is 0.3 %
WEIGHTS = Path(__file__).parents[1] / "src" / "saddle" / "features" / "weights"


@ending_with_its_reader()
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=sorted(LEAST_ACCURACY), help="which digits")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and distortions (default 0)")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the train split (default 30)")
    parser.add_argument(
        "--output", type=Path, default=WEIGHTS, help="folder for the weights (default: the package)"
    )
    arguments = parser.parse_args()

    import torch  # after the arguments are read: --help answers at once

    from saddle.data import images

    torch.set_default_dtype(torch.float32)
    data: Dataset = getattr(images, arguments.data)()
    network = train(data, arguments.seed, arguments.epochs)
    num_right = count_right(network, data)
    total = len(data.held_out)
    low, high = wilson_interval(num_right, total)
    print(f"{data.name}: {num_right} of {total} held-out digits right, {num_right / total:.2%} ", end="")
    print(f"(95 % interval {low:.2%} to {high:.2%})")
    least = LEAST_ACCURACY[arguments.data]
    if num_right / total < least:
        print(f"Not stored: the held-out accuracy must be at least {least:.0%}. Train for more epochs.")
        return 1
    path = arguments.output / f"{data.name}.safetensors"
    store(network, path, data, arguments.seed, arguments.epochs, num_right)
    print(f"Stored {path} ({path.stat().st_size / 1000:.0f} kB).")
    return 0


def train(data: "Dataset", seed: int, epochs: int, batch_size: int = 100) -> "DigitClassifier":
    """AdamW under a one-cycle schedule. Plain cross entropy: label smoothing, tried, draws each class
    together to a point, and features that forget how digits of a class differ cannot measure diversity."""
    import torch
    from rich.progress import track

    from saddle.data.pixels import from_uint8, to_uint8
    from saddle.game.randomness import generator, seed_of
    from saddle.models.classifier import DigitClassifier

    images, labels = data.train.take(torch.arange(len(data.train)))
    assert labels is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "classifier/weights"))
        network = DigitClassifier()
    steps = len(images) // batch_size
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=epochs * steps)
    for epoch in track(range(epochs), description=f"training on {data.name}"):
        order = torch.randperm(len(images), generator=generator(seed, "classifier/order", epoch))
        for step in range(steps):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            random = generator(seed, "classifier/distortion", epoch * steps + step)
            logits = network(distorted(images[chosen], random)).logits
            loss = torch.nn.functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    network.standardize(from_uint8(to_uint8(images)))  # as the extractor will see them
    return network


def distorted(images: "Tensor", random: "Generator") -> "Tensor":
    """Each image rotated, scaled, sheared, shifted and bent a little, background filled in.

    Standard deviations: 6 degrees, 6 % of size, shear 0.08, 4 % of the side in shift, and 2 % in a smooth
    displacement drawn on a 4×4 lattice.
    """
    import torch
    from torch.nn import functional

    num = len(images)

    def noise(*shape: int) -> "Tensor":
        return torch.randn(*shape, generator=random)

    angle, stretch, shear = 0.1 * noise(num), 1 + 0.06 * noise(num, 2), 0.08 * noise(num)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(num, 2, 2)
    bend = torch.eye(2).repeat(num, 1, 1)
    bend[:, 0, 1] = shear
    linear = rotation @ bend * stretch[:, None]
    affine = torch.cat([linear, 0.08 * noise(num, 2, 1)], dim=2)  # coordinates run from −1 to 1: 0.08 is 4 %
    where = functional.affine_grid(affine, list(images.shape), align_corners=False)
    lattice = 0.04 * noise(num, 2, 4, 4)
    smooth = functional.interpolate(lattice, images.shape[2:], mode="bicubic", align_corners=False)
    where = where + smooth.permute(0, 2, 3, 1)
    return functional.grid_sample(images + 1, where, align_corners=False) - 1  # outside is 0, hence the +1 −1


def count_right(network: "DigitClassifier", data: "Dataset") -> int:
    """Held-out images whose label is the largest logit."""
    import torch

    from saddle.data.pixels import from_uint8, to_uint8

    images, labels = data.held_out.take(torch.arange(len(data.held_out)))
    assert labels is not None
    with torch.no_grad():
        guesses = network(from_uint8(to_uint8(images))).logits.argmax(dim=1)
    return int((guesses == labels).sum())


def wilson_interval(num_right: int, total: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927), honest near 1."""
    z = 1.959964
    centre = (num_right + z**2 / 2) / (total + z**2)
    half = z * (num_right * (total - num_right) / total + z**2 / 4) ** 0.5 / (total + z**2)
    return centre - half, centre + half


def store(
    network: "DigitClassifier", path: Path, data: "Dataset", seed: int, epochs: int, num_right: int
) -> None:
    """Write safetensors and what they were made from, all or nothing."""
    import torch
    from safetensors.torch import save

    made_from = {
        "image_side": data.event_shape[-1],
        "held_out": len(data.held_out),
        "held_out_right": num_right,
        "seed": seed,
        "epochs": epochs,
        "data_sha256": data.digest(),
        "torch": torch.__version__,
    }
    # One entry: safetensors writes several in random order, and the file's sha256 names the weights.
    metadata = {"made_from": json.dumps(made_from, sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    blob = save({name: value.contiguous() for name, value in network.state_dict().items()}, metadata)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            file.write(blob)
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # temporary files start private
            os.fsync(file.fileno())
            os.replace(file.name, path)  # same folder, hence same file system
        except BaseException:
            os.unlink(file.name)
            raise


if __name__ == "__main__":
    sys.exit(main())
