"""The fields of KubeRay that the manifests may use, as its API reference names them.

https://docs.ray.io/en/master/cluster/kubernetes/references/api.html. A hand-made table, which finds
misspelt and misplaced fields and no more: KubeRay publishes its schema with its operator only. Pod
templates are Kubernetes' own, and are validated as pods.
"""

from __future__ import annotations

from typing import Any


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


_STRING = {"type": "string"}
_BOOLEAN = {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0}
_ANYTHING: dict[str, Any] = {"type": "object"}
_START_PARAMS = {"type": "object", "additionalProperties": _STRING}

_HEAD = _object(
    "template rayStartParams",
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    rayStartParams=_START_PARAMS,
    template=_ANYTHING,
)
_WORKERS = _object(
    "groupName template minReplicas maxReplicas rayStartParams",
    groupName=_STRING,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    numOfHosts=_COUNT,
    idleTimeoutSeconds=_COUNT,
    rayStartParams=_START_PARAMS,
    template=_ANYTHING,
)
_CLUSTER = _object(
    "headGroupSpec rayVersion",
    rayVersion=_STRING,
    enableInTreeAutoscaling=_BOOLEAN,
    autoscalerOptions=_ANYTHING,
    authOptions=_object("mode", mode={"enum": ["disabled", "token"]}, secretName=_STRING),
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)
_JOB = _object(
    "entrypoint",
    entrypoint=_STRING,
    runtimeEnvYAML=_STRING,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    shutdownAfterJobFinishes=_BOOLEAN,
    ttlSecondsAfterFinished=_COUNT,
    activeDeadlineSeconds=_COUNT,
    backoffLimit=_COUNT,
    rayClusterSpec=_CLUSTER,
    clusterSelector=_START_PARAMS,
)
_METADATA = _object("name", name=_STRING, labels=_START_PARAMS)
SCHEMAS = {
    kind: _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=_METADATA,
        spec=spec,
    )
    for kind, spec in {"RayJob": _JOB, "RayCluster": _CLUSTER}.items()
}
