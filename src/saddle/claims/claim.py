"""A published result as data: one file of ``conf/claim``, read and checked.

Numbers of the paper carry where they are known from, their ``source``: "confirmed in code" or text of the
authors, "closed form" (checked numerically), "pilot" (a run of ours before this code), or "unconfirmed", from
memory. An unconfirmed number is shown and never a threshold.
"""

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from saddle.game.refusals import Refused

SOURCES = ("confirmed in code", "closed form", "pilot", "unconfirmed")
FIELDS = (
    "title", "paper", "statement", "protocol", "arms", "seeds", "split", "tags", "cost", "needs", "measure",
    "quantities",
)  # fmt: skip
OPTIONAL = ("tried",)
BANDS = ("within", "relative", "at_least", "at_most")
OF_QUANTITY = ("name", "paper", "source", *BANDS)

Value = float | tuple[complex, ...]  # a number, or eigenvalues


@dataclass(frozen=True)
class Quantity:
    """One number of a paper, and which of ours are accepted as the same.

    Args:
        name: as a reader of the table sees it.
        paper: the paper's value; None where it states a direction only.
        source: one of ``SOURCES``.
        within: largest distance from the paper's value; of eigenvalues, of the farthest pair.
        relative: the same, over the paper's value.
        at_least, at_most: ends of the accepted interval.
    """

    name: str
    paper: Value | None
    source: str
    within: float | None = None
    relative: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def judged(self) -> bool:
        """Whether it decides anything, or is only shown."""
        return any(getattr(self, band) is not None for band in BANDS)


@dataclass(frozen=True)
class Claim:
    """See the module.

    Args:
        arms: name -> words of ``saddle-train``.
        split: every seed is measured in a process of its own.
    """

    key: str  # the file's name
    title: str
    paper: str
    statement: str
    protocol: str
    arms: Mapping[str, Sequence[str]]
    seeds: tuple[int, ...]
    split: bool
    tags: tuple[str, ...]
    cost: float  # seconds on one core
    needs: tuple[str, ...]  # what a machine or this house must have
    measure: Mapping[str, Any]  # node with a _target_
    quantities: Mapping[str, Quantity]
    tried: str = ""  # of one that did not reproduce

    @property
    def digest(self) -> str:
        """Of all that decides what is measured; a new statement or band asks for no new measurement."""
        # seeds that are measured apart have files of their own
        seeds = () if self.split else self.seeds
        content = {"measure": self.measure, "arms": self.arms, "seeds": seeds, "split": self.split}
        return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=5).hexdigest()


def read_claims(folder: Path) -> dict[str, Claim]:
    """All claims of a folder by name, in the order of their names.

    Raises:
        ValueError: a file is no claim; the message names it.
    """
    return {path.stem: read_claim(path) for path in sorted(folder.glob("*.yaml"))}


def read_claim(path: Path) -> Claim:
    """One file.

    Raises:
        ValueError: what is wrong in it, and where.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OmegaConfBaseException, YAMLError) as error:
        raise Refused(f"a claim must be a YAML file; {path} is not: {error}. Mend it.") from error
    if not isinstance(content, dict):
        raise Refused(f"a claim must be a mapping; {path} is not. Give {', '.join(FIELDS)}.")
    _check_names(f"{path}", content, FIELDS, OPTIONAL)
    if not content["quantities"] or not content["seeds"] or not content["tags"]:
        raise Refused(f"a claim needs a quantity, a seed and a tag at least; {path} has none. Give one.")
    if "_target_" not in content["measure"]:
        raise Refused(
            f"measure must name a function as _target_; got {content['measure']} in {path}. Functions in "
            "saddle.claims take an Asked and return a Measured."
        )
    return Claim(
        key=path.stem,
        title=content["title"],
        paper=content["paper"],
        statement=" ".join(content["statement"].split()),
        protocol=" ".join(content["protocol"].split()),
        arms={name: tuple(words) for name, words in content["arms"].items()},
        seeds=tuple(content["seeds"]),
        split=content["split"],
        tags=tuple(content["tags"]),
        cost=float(content["cost"]),
        needs=tuple(content["needs"]),
        measure=content["measure"],
        quantities={
            key: _quantity(f"{path}: {key}", key, node) for key, node in content["quantities"].items()
        },
        tried=" ".join(content.get("tried", "").split()),
    )


def _quantity(where: str, key: str, node: Mapping[str, Any]) -> Quantity:
    _check_names(where, node, ("paper", "source"), ("name", *BANDS))
    if node["source"] not in SOURCES:
        raise Refused(
            f"source must be one of {', '.join(SOURCES)}; got {node['source']} in {where}."
            f"{did_you_mean(node['source'], SOURCES)}"
        )
    paper = _value(node["paper"])
    bands = {band: float(node[band]) for band in BANDS if node.get(band) is not None}
    found = Quantity(node.get("name", key), paper, node["source"], **bands)
    if paper is None and ("within" in bands or "relative" in bands):
        raise Refused(f"within and relative need a number of the paper; got none in {where}. Give one.")
    if paper is not None and bands and node["source"] == "unconfirmed":
        raise Refused(
            f"an unconfirmed number must not be a threshold; got {', '.join(bands)} in {where}. Leave "
            "the bands out, or say where the number is confirmed."
        )
    return found


def _value(node: Any) -> Value | None:
    """A number, numbers, text like "0.1+2j", or a function of ``saddle.theory`` with its arguments."""
    if isinstance(node, dict):
        from hydra.utils import instantiate

        return _value(instantiate(node, _convert_="all"))
    if node is None:
        return None
    if isinstance(node, list | tuple):
        return tuple(complex(number) for number in node)
    return float(node)


def _check_names(
    where: str, content: Mapping[str, Any], needed: Collection[str], optional: Collection[str]
) -> None:
    known = (*needed, *optional)
    unknown = [name for name in content if name not in known]
    if unknown:
        raise Refused(
            f"fields must be {', '.join(known)}; got {unknown[0]} in {where}."
            f"{did_you_mean(unknown[0], known)}"
        )
    missing = [name for name in needed if name not in content]
    if missing:
        raise Refused(f"every field must be given; {where} has no {', '.join(missing)}. Give it.")


def choose(claims: Mapping[str, Claim], names: Sequence[str], tags: Sequence[str]) -> list[Claim]:
    """The claims with one of these names or tags, in the order of the files; "all" is every one.

    Raises:
        ValueError: an unknown name or tag.
    """
    known_tags = sorted({tag for claim in claims.values() for tag in claim.tags} | {"all"})
    for kind, asked, known in (("claim", names, list(claims)), ("tag", tags, known_tags)):
        for word in asked:
            if word not in known:
                raise Refused(
                    f"a {kind} must be one of {', '.join(known)}; got {word}.{did_you_mean(word, known)}"
                )
    return [
        claim
        for claim in claims.values()
        if claim.key in names or {*claim.tags, "all"} & {*tags} or not (names or tags)
    ]


def did_you_mean(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else " Choose among those."
