"""deploy/kubernetes as data, built by kustomize, for the tests of it."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from typing import Any

from ruamel.yaml import YAML

from deploy.stack.paths import CHECKOUT

DIRECTORY = CHECKOUT / "deploy" / "kubernetes"
PLANTS = ("example", "emqx")
COMMANDS = (["kubectl", "kustomize"], ["kustomize", "build"])
KUSTOMIZE = next((command for command in COMMANDS if shutil.which(command[0])), None)
PODS = {"Deployment", "StatefulSet", "Job"}
Object = dict[str, Any]


@cache
def objects(plant: str) -> tuple[Object, ...]:
    assert KUSTOMIZE
    done = subprocess.run([*KUSTOMIZE, DIRECTORY / "overlays" / plant], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(YAML(typ="safe").load_all(done.stdout))


def of_kind(plant: str, *kinds: str) -> list[Object]:
    return [one for one in objects(plant) if one["kind"] in kinds]


def named(plant: str, kind: str, name: str) -> Object:
    [found] = [one for one in of_kind(plant, kind) if one["metadata"]["name"] == name]
    return found


def pods(plant: str) -> list[Object]:
    """Templates of the pods that are made."""
    return [one["spec"]["template"] for one in of_kind(plant, *PODS)]


def program(container: Object) -> str | None:
    """The command of ours that it runs."""
    match container["command"]:
        case ["biogate", word]:
            return str(word)
    return None


def labels(pod: Object) -> Object:
    found: Object = pod["metadata"]["labels"]
    return found


def selects(selector: Object, pod: Object) -> bool:
    """matchLabels and `In`, which is what we use."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    equal = all(labels(pod).get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return equal and all(
        one["operator"] == "In" and labels(pod).get(one["key"]) in one["values"]
        for one in selector.get("matchExpressions", ())
    )
