"""Metrics of the same features by Saddle and by others; ``benchmark.py metrics`` is its entry point.

``benchmark_metrics.py CASE CONTENDER`` is one turn: it makes the features, computes, and prints seconds,
the value and the peak memory of its process as JSON.
"""

import atexit
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from saddle.commands.pipes import ending_with_its_reader

GIGABYTE = 1e9
PASS = 50  # images an extractor sees at once
Computation = Callable[[Any, Any], Mapping[str, float]]


def as_they_are(real: Any, fake: Any) -> tuple[Any, Any]:
    return real, fake


class Case(NamedTuple):
    """One metric of N real and N fake rows of d features, float32; the first contender is ours."""

    num: int
    width: int
    contenders: Mapping[str, Computation]
    prepare: Callable[[Any, Any], tuple[Any, Any]] = as_they_are  # what is not timed
    small: tuple[int, int] = (128, 8)  # rows and features of the first call, which imports and starts threads


def saddle_fid(real: Any, fake: Any) -> Mapping[str, float]:
    from saddle.metrics.frechet import fid

    return {"fid": fid(real, fake)}


def sqrtm_fid(real: Any, fake: Any) -> Mapping[str, float]:
    """Moments by numpy, the general matrix root by scipy: Heusel's own code, as most still have it."""
    import numpy as np
    import scipy.linalg

    (mean_a, a), (mean_b, b) = (
        (x.mean(0, dtype="float64"), np.cov(x, rowvar=False)) for x in (real.numpy(), fake.numpy())
    )
    root = scipy.linalg.sqrtm(a @ b).real
    return {"fid": float((mean_a - mean_b) @ (mean_a - mean_b) + np.trace(a + b - 2 * root))}


def torch_fidelity_fid(real: Any, fake: Any) -> Mapping[str, float]:
    from torch_fidelity import metric_fid

    sides = [metric_fid.fid_features_to_statistics(x) for x in (real, fake)]
    return {"fid": metric_fid.fid_statistics_to_metric(*sides, False)[metric_fid.KEY_METRIC_FID]}


def torchmetrics_fid(real: Any, fake: Any) -> Mapping[str, float]:
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Identity(torch.nn.Module):
        num_features = real.shape[1]

        def forward(self, x: Any) -> Any:
            return x

    metric = FrechetInceptionDistance(feature=Identity())
    for side, is_real in ((real, True), (fake, False)):
        for batch in side.split(500):
            metric.update(batch, real=is_real)
    return {"fid": float(metric.compute())}


def moments(real: Any, fake: Any) -> tuple[Any, Any]:
    from saddle.metrics.frechet import moments

    return moments(real), moments(fake)


def saddle_distance(a: Any, b: Any) -> Mapping[str, float]:
    from saddle.metrics.frechet import frechet_distance

    return {"fid": frechet_distance(a.mean, a.covariance, b.mean, b.covariance)}


def sqrtm_distance(a: Any, b: Any) -> Mapping[str, float]:
    import scipy.linalg

    root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real
    squared = (a.mean - b.mean).square().sum()
    return {"fid": float(squared + (a.covariance + b.covariance).trace() - 2 * root.trace())}


def torchmetrics_distance(a: Any, b: Any) -> Mapping[str, float]:
    """General eigenvalues of Σ₁Σ₂; torch-fidelity 0.4 does the same in numpy."""
    from torchmetrics.image.fid import _compute_fid

    return {"fid": float(_compute_fid(a.mean, a.covariance, b.mean, b.covariance))}


def saddle_prdc(real: Any, fake: Any) -> Mapping[str, float]:
    from saddle.metrics.neighbours import prdc

    return prdc(real, fake, k=5, density_k=5)


def package_prdc(real: Any, fake: Any) -> Mapping[str, float]:
    import contextlib
    import io

    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        found = compute_prdc(real.numpy(), fake.numpy(), 5)
    return {name: float(value) for name, value in found.items()}


def saddle_kid(real: Any, fake: Any) -> Mapping[str, float]:
    from saddle.metrics.kernels import kid_and_error

    return kid_and_error(real, fake)


def saddle_vendi(real: Any, fake: Any) -> Mapping[str, float]:
    from saddle.metrics.vendi import vendi

    return {"vendi": vendi(real, fake)}


def pictures(real: Any, fake: Any) -> tuple[Any, Any]:
    """A folder of PNG files of 32x32, and a file of weights for torch-fidelity's Inception.

    The weights are random; its batch normalization is calibrated on the images, so that features are of
    size one. Time does not depend on weights.
    """
    import tempfile
    from unittest import mock

    import torch
    from PIL import Image
    from torch_fidelity import feature_extractor_inceptionv3 as source

    folder = Path(tempfile.mkdtemp(prefix="saddle-benchmark-"))
    atexit.register(shutil.rmtree, folder)
    levels = (255 * real.mul(2).sigmoid()).to(torch.uint8).reshape(-1, 3, 32, 32)
    (folder / "images").mkdir()
    for index, image in enumerate(levels):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / "images" / f"{index:05d}.png")
    torch.manual_seed(0)
    with (
        mock.patch.object(source, "load_state_dict_from_url", return_value={}),
        mock.patch.object(torch.nn.Module, "load_state_dict", return_value=None),
    ):
        network = source.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    for layer in network.train().modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network(levels[:4].repeat(2, 1, 1, 1))  # twice, for two images may be all there are
    torch.save(network.state_dict(), folder / "weights.pth")
    return folder / "images", folder / "weights.pth"


def summary(found: Any) -> Mapping[str, float]:
    return {
        "mean": float(found.double().mean()),
        "root_mean_square": float(found.double().square().mean().sqrt()),
    }


def saddle_features(images: Any, weights: Any) -> Mapping[str, float]:
    import torch

    from saddle.data.folder import read_folder
    from saddle.features.networks import inception

    extractor = inception({"features": "2048"}, str(weights))
    found = [extractor(batch)["features"] for batch in read_folder(images).batches(PASS)]
    return summary(torch.cat(found))


def torch_fidelity_features(images: Any, weights: Any) -> Mapping[str, float]:
    """As its own command goes about it, with workers that read files."""
    from torch_fidelity import utils
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    extractor = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
    )
    data = utils.prepare_input_from_descriptor({"input": str(images)}, verbose=False)
    found = utils.get_featuresdict_from_dataset(
        data, extractor, batch_size=PASS, cuda=False, save_cpu_ram=False, verbose=False
    )
    return summary(found["2048"])


FIDS = {
    "saddle": saddle_fid,
    "sqrtm": sqrtm_fid,
    "torch-fidelity": torch_fidelity_fid,
    "torchmetrics": torchmetrics_fid,
}
DISTANCES = {"saddle": saddle_distance, "sqrtm": sqrtm_distance, "torchmetrics": torchmetrics_distance}
FEATURES = {"saddle": saddle_features, "torch-fidelity": torch_fidelity_features}
CASES = {
    # from means and covariances, as they stand when the sums were taken along with the features
    "frechet/2048": Case(10_000, 2048, DISTANCES, moments),
    "fid/50000x2048": Case(50_000, 2048, FIDS),
    "prdc/10000x2048": Case(10_000, 2048, {"saddle": saddle_prdc, "prdc": package_prdc}),
    "prdc/50000x64": Case(50_000, 64, {"saddle": saddle_prdc}),
    "kid/50000x64": Case(50_000, 64, {"saddle": saddle_kid}),
    "kid/50000x2048": Case(50_000, 2048, {"saddle": saddle_kid}),
    "vendi/50000x2048": Case(50_000, 2048, {"saddle": saddle_vendi}),
    # 100 PNG files to features of Inception
    "features/100x32x32": Case(100, 3 * 32 * 32, FEATURES, pictures, small=(2, 3 * 32 * 32)),
}


def time_case(name: str, num_rounds: int) -> dict[str, Any]:
    """Medians over rounds of each contender's seconds and of the ratios within a round; peak memory."""
    case = CASES[name]
    # what nobody else computes is timed once
    rounds = [
        {contender: turn(name, contender) for contender in case.contenders}
        for _ in range(num_rounds if len(case.contenders) > 1 else 1)
    ]
    ours = next(iter(case.contenders))
    result: dict[str, Any] = {"case": name, "rounds": len(rounds), "threads": rounds[0][ours]["threads"]}
    for contender in case.contenders:
        turns = [one[contender] for one in rounds]
        result[contender] = {
            "seconds": round(statistics.median(one["seconds"] for one in turns), 3),
            "cpu_seconds": round(statistics.median(one["cpu_seconds"] for one in turns), 3),
            "peak_gigabytes": round(max(one["peak_gigabytes"] for one in turns), 3),
            "before_gigabytes": round(turns[0]["before_gigabytes"], 3),
            "value": turns[0]["value"],
        }
        if contender != ours:
            ratios = [one[contender]["seconds"] / one[ours]["seconds"] for one in rounds]
            result[contender]["ratio"] = round(statistics.median(ratios), 2)
            result[contender]["ratio_range"] = [round(min(ratios), 2), round(max(ratios), 2)]
            result[contender]["relative_difference"] = max(
                abs(value - turns[0]["value"][key]) / abs(value)
                for key, value in rounds[0][ours]["value"].items()
            )
    return result


def turn(case: str, contender: str) -> dict[str, Any]:
    """One computation in a process of its own."""
    line = [sys.executable, str(Path(__file__)), case, contender]
    found = subprocess.run(line, capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(f"benchmark: {case} by {contender} failed:\n{found.stderr}")
    result = json.loads(found.stdout.splitlines()[-1])
    print(f"{case} {contender}: {result['seconds']:.1f} s", file=sys.stderr)
    return result


def features(num: int, width: int, seed: int) -> Any:
    """(num, width) float32 with variances that fall as 1/rank, as those of networks' features do."""
    import torch

    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(num, width, generator=random)
    return rows.mul_(torch.arange(1, width + 1).rsqrt())


@ending_with_its_reader()
def main() -> None:
    """One turn."""
    import warnings

    import torch

    case, compute = CASES[sys.argv[1]], CASES[sys.argv[1]].contenders[sys.argv[2]]
    warnings.simplefilter("ignore")
    compute(*case.prepare(features(*case.small, 2), features(*case.small, 3)))
    real = features(case.num, case.width, 0)
    fake = features(case.num, case.width, 1).mul_(0.95).add_(0.02)
    real, fake = case.prepare(real, fake)
    before = peak()
    cpu_before = sum(os.times()[:2])
    began = time.perf_counter()
    value = compute(real, fake)
    seconds = time.perf_counter() - began
    # of all threads, waiting ones included: what a busy machine disturbs less than the clock
    cpu = sum(os.times()[:2]) - cpu_before
    content = {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "value": dict(value),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(content | {"peak_gigabytes": peak(), "before_gigabytes": before}))


def peak() -> float:
    """Largest resident memory of this process so far, in 10⁹ bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGABYTE


if __name__ == "__main__":
    main()
