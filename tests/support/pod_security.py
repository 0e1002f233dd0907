"""The `restricted` Pod Security Standard of Kubernetes, checked without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifest_files import containers

if TYPE_CHECKING:
    from manifest_files import Document

RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"}


def violations(spec: Document) -> list[str]:
    """Return what the `restricted` Pod Security Standard refuses in a pod specification."""
    pod = spec.get("securityContext", {})
    results = [f"pod: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    results += [f"volume {volume['name']}" for volume in spec.get("volumes", []) if not (set(volume) - {"name"}) <= RESTRICTED_VOLUMES]
    results += ["pod: runAsUser 0"] if pod.get("runAsUser") == 0 else []
    results += ["pod: sysctls"] if pod.get("sysctls") else []
    for container in containers(spec):
        own = container.get("securityContext", {})
        effective = pod | own
        bad = {
            "runAsNonRoot": effective.get("runAsNonRoot") is not True,
            "runAsUser": own.get("runAsUser") == 0,
            "seccompProfile": effective.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"},
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
            "capabilities": own.get("capabilities", {}).get("drop") != ["ALL"]
            or not set(own.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"},
            "privileged": bool(own.get("privileged")),
            "procMount": own.get("procMount", "Default") != "Default",
            "hostPort": any(port.get("hostPort") for port in container.get("ports", [])),
        }
        results += [f"{container['name']}: {key}" for key, is_bad in bad.items() if is_bad]
    return results
