"""Any network as an extractor: torch-fidelity's own Inception, VGG16, CLIP and DINOv2, a TorchScript file,
or an ``nn.Module``.

Images (N, C, H, W) in [−1, 1] are quantized, grey ones repeated to RGB as Pillow's ``convert("RGB")``
does, and given to the network in batches. What it answers is filed under roles: "features" (N, d), and
"logits" (N, classes) where it classifies.

torch-fidelity's networks resize by themselves, bilinearly as TensorFlow 1 did and without antialiasing,
so their features are torch-fidelity's to the bit. Their weights come from a file that is given, or from
where torch keeps downloads, ``$TORCH_HOME/hub/checkpoints`` (default ``~/.cache/torch``), or from the
network; nothing else ever stands in for them.
"""

import pickle
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from saddle.data.pixels import QUANTIZATION, to_uint8
from saddle.game.refusals import Refused
from saddle.metrics.protocol import Extraction


@dataclass(frozen=True)
class Levels:
    """The network takes uint8 images and resizes them itself."""

    resize: str = "the network's own"
    antialias: bool = False

    def __call__(self, levels: Tensor) -> Tensor:
        return levels


@dataclass(frozen=True)
class Normalized:
    """(x/255 − mean)/std, resized bilinearly before; by default floats in [−1, 1] at the images' own size.

    Args:
        side: of the square the network takes; None leaves the size alone.
        antialias: average over dropped pixels where resizing shrinks.
        mean, std: of each channel, in units of pixel values in [0, 1].
    """

    side: int | None = None
    antialias: bool = True
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    @property
    def resize(self) -> str:
        size = "none" if self.side is None else f"bilinear to {self.side}x{self.side}"
        return f"{size}; mean {[*self.mean]}, std {[*self.std]}"

    def __call__(self, levels: Tensor) -> Tensor:
        images = levels.to(torch.float32) / 255
        if self.side is not None:
            images = nn.functional.interpolate(
                images, (self.side, self.side), mode="bilinear", align_corners=False, antialias=self.antialias
            )
        mean, std = (images.new_tensor(value)[:, None, None] for value in (self.mean, self.std))
        return (images - mean) / std


@dataclass(frozen=True, eq=False)
class NetworkFeatures:
    """A network's answers by role.

    Args:
        network: prepared images to a tensor, a tuple or a mapping; in evaluation mode.
        name, digest: of the weights.
        layers: role -> key into the network's answer; None for the answer itself.
        prepare: uint8 RGB images (N, 3, H, W) to what the network takes.
        batch_size: images a pass; bounds memory.
    """

    network: nn.Module
    name: str
    digest: str
    layers: Mapping[str, str | int | None]
    prepare: Levels | Normalized
    batch_size: int
    is_costly = True  # features of real samples are worth keeping on disk

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> dict[str, Tensor]:
        """Images (N, 1 or 3, H, W) in [−1, 1] to role -> (N, d), float32.

        Raises:
            ValueError: no images, not finite, or an answer that has no such layer or not N rows.
        """
        if samples.ndim != 4 or samples.shape[1] not in (1, 3):
            raise Refused(
                f"{self.name} must see images (N, 1 or 3, H, W); got shape {tuple(samples.shape)}. "
                "Choose features=identity for points."
            )
        found: dict[str, list[Tensor]] = {role: [] for role in self.layers}
        with torch.autocast(samples.device.type, enabled=False):  # features stay float32 in mixed precision
            for batch in samples.split(self.batch_size):
                answer = self.network(self.prepare(to_uint8(batch).expand(-1, 3, -1, -1)))
                for role, key in self.layers.items():
                    found[role].append(self._layer(answer, key, len(batch)))
        return {role: torch.cat(parts) for role, parts in found.items()}

    def _layer(self, answer: Any, key: str | int | None, num: int) -> Tensor:
        try:
            layer = answer if key is None else None if isinstance(answer, Tensor) else answer[key]
        except (KeyError, IndexError, TypeError):
            layer = None
        if not isinstance(layer, Tensor) or layer.ndim < 2 or len(layer) != num:
            what = sorted(map(str, answer)) if isinstance(answer, Mapping) else type(answer).__name__
            shape = f" of shape {tuple(layer.shape)}" if isinstance(layer, Tensor) else ""
            raise Refused(
                f"{self.name} must answer {num} images with a layer {key} of {num} rows; got {what}{shape}. "
                "Set features.layers.features to the name or number of a layer, or null."
            )
        return layer.flatten(1).to(torch.float32)

    def describe(self) -> Extraction:
        """What a number depends on; the batch size is not among it."""
        return Extraction(
            name=self.name,
            weights_sha256=self.digest,
            layers=", ".join(
                f"{role}: {'answer' if key is None else key}" for role, key in self.layers.items()
            ),
            resize=self.prepare.resize,
            antialias=self.prepare.antialias,
            quantization=QUANTIZATION,
        )

    def to(self, device: torch.device | str) -> Self:
        """The same extractor on ``device``; this one stays where it is."""
        return replace(self, network=deepcopy(self.network).to(device))


def module(
    network: nn.Module,
    layers: Mapping[str, str | int | None] | None = None,
    prepare: Levels | Normalized | None = None,
    weights: str | None = None,
    batch_size: int = 50,
) -> NetworkFeatures:
    """Any ``nn.Module``, by default from floats in [−1, 1] to features.

    Args:
        network: as built; its weights are loaded from ``weights``, a state dict, where that is given.
        layers, prepare, batch_size: see ``NetworkFeatures``.

    Raises:
        ValueError: the file is missing, no plain state dict, or of another network.
    """
    kind = type(network)
    if weights is not None:
        network.load_state_dict(_state_dict(_given(weights)))
    network.to(torch.float32).requires_grad_(False).eval()
    name = f"module/{kind.__module__}.{kind.__qualname__}"
    digest = _digest_of(network.state_dict())
    return NetworkFeatures(
        network, name, digest, layers or {"features": None}, prepare or Normalized(), batch_size
    )


def torchscript(
    weights: str | None,
    layers: Mapping[str, str | int | None] | None = None,
    prepare: Levels | Normalized | None = None,
    batch_size: int = 50,
) -> NetworkFeatures:
    """A TorchScript file, by default from floats in [−1, 1] to features. It is a program: trust its source.

    Args:
        weights: the file; it holds network and weights.
        layers, prepare, batch_size: see ``NetworkFeatures``.

    Raises:
        ValueError: the file is missing or no TorchScript.
    """
    if weights is None:
        raise Refused("features=torchscript must be given a file; got none. Say features.weights=FILE.")
    path = _given(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own notes that TorchScript has a successor
        try:
            network = torch.jit.load(path, map_location="cpu")
        except (RuntimeError, ValueError) as error:
            why = (str(error).strip().splitlines() or ["unreadable"])[0][:120]
            raise Refused(
                f"features.weights must be a TorchScript file; {path} cannot be read ({why}). "
                "Write it with torch.jit.save."
            ) from error
        network.eval()
    for parameter in network.parameters():  # a ScriptModule has no requires_grad_ of its own
        parameter.requires_grad_(False)
    return NetworkFeatures(
        network,
        "torchscript",
        _digest_of_file(path),
        layers or {"features": None},
        prepare or Normalized(),
        batch_size,
    )


class _Named(nn.Module):
    """torch-fidelity's network, its tuple of answers by layer."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, levels: Tensor) -> dict[str, Tensor]:
        return self.network.convert_features_tuple_to_dict(self.network(levels))


def inception(layers: Mapping[str, str], weights: str | None = None, batch_size: int = 50) -> NetworkFeatures:
    """The Inception-v3 of FID, ported from TensorFlow: torch-fidelity's ``inception-v3-compat``.

    Args:
        layers: role -> one of 64, 192, 768, 2048, logits_unbiased, logits. Only layers up to the deepest
            of them are computed.
        weights: file; None takes torch's download, or downloads it.
        batch_size: images a pass.

    Raises:
        ValueError: no weights and no way to get them, or another file's.
    """
    from torch_fidelity import feature_extractor_inceptionv3 as source

    path = _weights("inception", source.URL_INCEPTION_V3, weights)
    _state_dict(path)  # refuses what holds more than tensors, before torch-fidelity unpickles it
    return _from_torch_fidelity(
        source.FeatureExtractorInceptionV3, "inception-v3-compat", layers, path, batch_size, "299x299"
    )


def vgg16(layers: Mapping[str, str], weights: str | None = None, batch_size: int = 50) -> NetworkFeatures:
    """The VGG16 of improved precision and recall: torch-fidelity's ``vgg16``. Layers fc2 and fc2_relu.

    Raises:
        ValueError: as ``inception``.
    """
    from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
    from torchvision.models import VGG16_Weights

    path = _weights("vgg16", VGG16_Weights.IMAGENET1K_V1.url, weights)
    _state_dict(path)
    return _from_torch_fidelity(FeatureExtractorVGG16, "vgg16", layers, path, batch_size, "224x224")


def clip(variant: str, weights: str | None = None, batch_size: int = 50) -> NetworkFeatures:
    """CLIP's image encoder, torch-fidelity's; its files are TorchScript, which has no weights-only reading.

    Args:
        variant: such as clip-vit-b-32 or clip-vit-l-14-336px.
        weights, batch_size: as for ``inception``.

    Raises:
        ValueError: as ``inception``, or an unknown variant.
    """
    from torch_fidelity import feature_extractor_clip as source

    _must_be_one_of(variant, source.MODEL_URLS)
    digest = source.MODEL_METADATA[variant]["hash"]
    path = _weights("clip", source.MODEL_URLS[variant], weights, f"{variant}-{digest}.pt", digest)
    layers = {"features": "clip"}
    return _from_torch_fidelity(source.FeatureExtractorCLIP, variant, layers, path, batch_size, "its square")


def dinov2(variant: str, weights: str | None = None, batch_size: int = 50) -> NetworkFeatures:
    """DINOv2's class token, torch-fidelity's; torch.hub fetches code and weights from its authors.

    Args:
        variant: dinov2-vit-s-14, -b-14, -l-14 or -g-14.
        weights: must be None: torch.hub finds the file by itself.
        batch_size: images a pass.

    Raises:
        ValueError: no weights or code and no way to get them, or an unknown variant.
    """
    from torch_fidelity import feature_extractor_dinov2 as source

    _must_be_one_of(variant, source.MODEL_METADATA)
    short = source.MODEL_METADATA[variant]
    hub = Path(torch.hub.get_dir())
    file = hub / "checkpoints" / f"{short}_pretrain.pth"
    url = f"https://dl.fbaipublicfiles.com/dinov2/{short}/{file.name}"
    code = f"the code of github.com/facebookresearch/dinov2 at {hub}/facebookresearch_dinov2_main"
    where = f"put it at {file} and {code}"
    if weights is not None:
        raise Refused(
            f"features=dinov2 must find its weights by torch.hub; got weights={weights}. Leave it out "
            f"and {where}."
        )
    try:
        network = source.FeatureExtractorDinoV2(variant, ["dinov2"])
    except Exception as error:  # whatever torch.hub and the code it fetches may raise
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Refused(
            f"features=dinov2 must have {file.name}; got none ({why[:120]}). Download {url} and {where}."
        ) from error
    return NetworkFeatures(
        _Named(network),
        variant,
        _digest_of_file(file) if file.is_file() else _digest_of(network.state_dict()),
        {"features": "dinov2"},
        Levels("bilinear as in TensorFlow 1 to 224x224"),
        batch_size,
    )


def _from_torch_fidelity(
    make: Callable[..., Any], name: str, layers: Mapping[str, str], path: Path, batch_size: int, size: str
) -> NetworkFeatures:
    provided = make.get_provided_features_list()  # type: ignore[attr-defined]
    layers = {role: str(layer) for role, layer in layers.items()}  # YAML reads 2048 as a number
    for layer in layers.values():
        if layer not in provided:
            raise Refused(
                f"a layer of {name} must be one of {', '.join(provided)}; got {layer}. Choose one of them."
            )
    try:
        network = make(name, [*dict.fromkeys(layers.values())], feature_extractor_weights_path=str(path))
    except (RuntimeError, KeyError, AttributeError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise Refused(
            f"features.weights must be the weights of {name}; {path} does not fit ({why}). "
            "Give another file, or null to download them."
        ) from error
    return NetworkFeatures(
        _Named(network),
        name,
        _digest_of_file(path),
        layers,
        Levels(f"bilinear as in TensorFlow 1 to {size}"),
        batch_size,
    )


def _weights(
    choice: str, url: str, given: str | None, name: str | None = None, digest: str | None = None
) -> Path:
    """The file given, or torch's download, made now if need be and if the network allows."""
    if given is not None:
        return _given(given)
    path = Path(torch.hub.get_dir()) / "checkpoints" / (name or url.rpartition("/")[2])
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash a RuntimeError
        raise Refused(
            f"features={choice} must have its weights {path.name}; they are not at {path.parent} and "
            "cannot be "
            f"downloaded ({error}). Fetch {url} where there is a network and put the file at {path}, or say "
            f"features.weights=FILE (in a run metrics.features.weights=FILE)."
        ) from error
    return path


def _given(weights: str) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise Refused(
            f"features.weights must be a file; there is no {path}. Give its path, or null to download it."
        )
    return path


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, LookupError, ValueError, pickle.UnpicklingError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise Refused(
            f"features.weights must be a file of tensors alone; {path} cannot be read as one ({why}). "
            "Give a state dict saved by torch.save."
        ) from error
    if not isinstance(content, Mapping):
        raise Refused(
            f"features.weights must hold a state dict; {path} holds {type(content).__name__}. Give "
            "another file."
        )
    return dict(content)


def _must_be_one_of(variant: str, known: Mapping[str, object]) -> None:
    if variant not in known:
        raise Refused(
            f"features.variant must be one of {', '.join(known)}; got {variant}. Choose one of them."
        )


def _digest_of_file(path: Path) -> str:
    with open(path, "rb") as file:
        total = sha256()
        while part := file.read(1 << 22):
            total.update(part)
    return total.hexdigest()


def _digest_of(state: Mapping[str, Tensor]) -> str:
    total = sha256()
    for name, tensor in state.items():
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
