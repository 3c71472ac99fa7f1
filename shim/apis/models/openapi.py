"""The model list in the OpenAPI document."""

from shim.apis.models.wire import Model, ModelList
from shim.http.openapi import JSON, OpenApiOperation

_MODEL = Model("auto", 1741288944)

OPERATIONS = (
    OpenApiOperation(
        "get",
        "/v1/models",
        "listModels",
        "List the models that the account can use, in the form of Anthropic or Codex where a request is theirs.",
        gives={JSON: ModelList},
        example={JSON: ModelList([_MODEL])},
        errors=(401, 403, 429, 502, 503, 504),
    ),
    OpenApiOperation(
        "get",
        "/v1/models/{id}",
        "retrieveModel",
        "Look one model up, by any name it answers to.",
        parameters={"id": "A model's name."},
        gives={JSON: Model},
        example={JSON: _MODEL},
        errors=(400, 401, 403, 404, 429, 502, 503, 504),
    ),
)
