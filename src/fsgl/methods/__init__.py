"""Training methods, one small file each, in one explicit dict."""

from __future__ import annotations

from fsgl.methods.base import Method
from fsgl.methods.cross_entropy import CrossEntropy
from fsgl.methods.glmc import Glmc

METHODS: dict[str, type] = {method.name: method for method in (Glmc, CrossEntropy)}

__all__ = ["METHODS", "CrossEntropy", "Glmc", "Method"]
