"""KServe's data plane and repository as this server needs them: readiness that means it, versions, no unloading."""

from __future__ import annotations

import asyncio
from typing import Any

from kserve import ModelRepository
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane

from foretail.serving.errors import refuse
from foretail.serving.predictor import Predictor
from foretail.serving.versions import Shelf

__all__ = ["Plane", "Repository"]


class Repository(ModelRepository):  # type: ignore[misc]  # kserve carries no types
    """The models by name. Loading one means to look at once where its alias stands; none is unloaded by request."""

    def __init__(self, shelf: Shelf):
        super().__init__()
        self._shelf = shelf

    async def load(self, name: str) -> bool:  # kserve awaits it
        """Load the version that the name's aliases stand for now, if it is another than the one that answers.

        Raises
        ------
        RequestError : 404, no model of that name.
        """
        if name not in self.models:
            raise _unknown(name)
        await asyncio.to_thread(self._shelf.refresh, [name])
        return True

    def unload(self, name: str) -> None:
        """Refuse.

        Raises
        ------
        RequestError : always: 404 for a name that is not served, else 422.
        """
        if name not in self.models:
            raise _unknown(name)
        fix = "start the server with other --model options, or move the alias with foretail models"
        raise refuse(422, "a model is not unloaded by request", name, fix)


class Plane(DataPlane):  # type: ignore[misc]  # kserve carries no types
    """The data plane.

    Attributes
    ----------
    is_draining : the server is about to end; it answers, and is no longer ready.
    """

    def __init__(self, repository: Repository):
        super().__init__(repository)
        self.is_draining = False

    async def ready(self) -> bool:
        """Whether every model has its version loaded, and the server is not about to end."""
        models = self.model_registry.get_models().values()
        return not self.is_draining and all([await model.healthy() for model in models])

    async def get_model(self, name: str) -> Predictor:
        """The model of that name; its readiness was asked before."""
        return self.predictor(name)

    def predictor(self, name: str) -> Predictor:
        """The model of that name.

        Raises
        ------
        ModelNotFound : there is none.
        """
        model = self.model_registry.get_model(name)
        if not isinstance(model, Predictor):
            raise ModelNotFound(name)
        return model

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """The tensors and versions of a model."""
        model = self.predictor(model_name)
        return {
            "name": model_name,
            "versions": model.route.names,
            "platform": "foretail",
            "inputs": model.get_input_types(),
            "outputs": model.get_output_types(),
        }


def _unknown(name: str) -> Exception:
    return refuse(404, f"no model {name[:40]!r}", "model name", "GET /v1/models lists the models that are served")
