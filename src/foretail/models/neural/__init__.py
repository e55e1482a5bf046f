"""The neural family: a network across series, its inputs, its training in one process and in many."""

from foretail.models.neural.family import Neural

__all__ = ["Neural"]
