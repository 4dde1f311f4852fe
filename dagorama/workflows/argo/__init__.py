"""Manifests of operations, for clusters with Argo Workflows."""

from __future__ import annotations

from dagorama.workflows.argo.manifest import as_text, manifest_of

__all__ = ["as_text", "manifest_of"]
