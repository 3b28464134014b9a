"""The facts of a source of variables, before it is converted: which network, which values, from which training."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import checkpoints
from checkpoints.archives import pinned
from converters.arguments import published_model
from converters.copies import open_copy
from converters.roles import RANGES, roles
from converters.source_names import network_view
from converters.sources import Source
from converters.text import shape_text

STEP = "global_step"


def source_facts(source: Source, scope: str | None = None) -> dict[str, Any]:
    """Returns the facts of a source as JSON values, from names and shapes, and the values of its counters.

    Args:
        source: what `find_source` returned.
        scope: the scope of the network, where the source has several.

    Raises:
        ConversionError: the source holds no network, or several.
        checkpoints.CheckpointError: it cannot be read.
    """
    with source.unpacked(), open_copy(source.path, "auto") as variables:
        label = str(variables.path)
        view = network_view(variables, label, scope)
        companions = roles(variables.shapes).companions
        steps = [int(variables[entry]) for entry in companions.get(STEP, ()) if variables.shapes[entry] == ()]
        network = view.network
        published = published_model(network, source.published, label)  # what convert takes
        return {
            "source": label,
            "format": variables.format,
            "network": network.family,
            "depth_multiplier": network.depth_multiplier,
            "options": {name: value for name, value in network.arguments.items() if value is not None},
            "scope": view.scope,
            "classes": network.num_classes,
            "image_size": list(variables.image_size) if variables.image_size else None,
            "variables": len(view.names.plain),
            "averages": len(view.names.averaged),
            "steps": steps[0] if steps else None,
            "optimizer": _optimizer(companions),
            "set_aside": dict(view.set_aside),
            "checksums": variables.checked,
            "published_model": published.name if published else None,
            "fetched_from": source.fetched_from,
            "files": [_file_facts(file) for file in variables.files],
        }


def _optimizer(companions: Mapping[str, list[str]]) -> list[str]:
    """Returns the names of the slots that it keeps for each variable."""
    counters = ("global_step", "beta", "biased", "local_step")
    kinds = {re.sub(r"_\d+$", "", kind) for kind in companions if kind != RANGES and not kind.startswith(counters)}
    return sorted(kinds)


def _file_facts(file: pathlib.Path) -> dict[str, Any]:
    digest = checkpoints.sha256(file)
    archive = pinned(digest)
    published = archive and f"{archive.file} of {archive.model}"
    return {"name": file.name, "bytes": file.stat().st_size, "sha256": digest, "published_as": published}


def readable(facts: Mapping[str, Any]) -> dict[str, object]:
    """Returns the facts as people read them."""
    genuine = [file["published_as"] for file in facts["files"] if file["published_as"]]
    options = ", ".join(f"{name}={value}" for name, value in facts["options"].items())
    size = facts["image_size"]
    shown = {
        "source": f"{facts['source']} ({facts['format']})",
        "network": f"{facts['network']}, depth multiplier {facts['depth_multiplier']:g}{', ' * bool(options)}{options}",
        "scope": facts["scope"],
        "head": f"{facts['classes']:,} classes" if facts["classes"] else "none, features only",
        "image_size": shape_text(size) if size else "not in the source",
        "published_model": facts["published_model"] or "none that the name contains",
        "variables": facts["variables"],
        "averages": facts["averages"] or "none",
        "steps": "not in the source" if facts["steps"] is None else facts["steps"],
        "optimizer": ", ".join(facts["optimizer"]) or "not in the source",
        "set_aside": ", ".join(f"{count} {kind}" for kind, count in facts["set_aside"].items()) or "nothing",
        "checksums": "of every value" if facts["checksums"] else "none: compare the sha256",
        "sha256": "\n".join(f"{file['name']} {file['sha256']}" for file in facts["files"]),
        "published_file": ", ".join(genuine) or "no: the sha256 is not that of a published archive",
    }
    return shown | ({"fetched_from": facts["fetched_from"]} if facts["fetched_from"] else {})
