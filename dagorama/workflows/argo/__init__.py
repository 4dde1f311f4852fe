"""Manifests of operations, for clusters with Argo Workflows."""

from __future__ import annotations

from dagorama.workflows.argo.manifest import manifest_of

__all__ = ["manifest_of"]
