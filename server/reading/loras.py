"""The extension `loras`: how a request names LoRAs, and whether there are such.

Knows the form of an entry, and the files that the registry has; not what becomes of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from pipelines.core import Lora
from pipelines.lora_files import MAX_NAME_LENGTH
from pipelines.registry import Registry
from server import errors
from server.reading.kinds import Number, Text, echo, wrong_type
from server.reading.references import too_many

NAME = Text(MAX_NAME_LENGTH, may_be_empty=False)
SCALE = Number(-4, 4)


def _array(name: str, text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise errors.InvalidType(
            f"Invalid type for '{name}': expected an array, but got a string value that could not "
            "be converted into an array.",
            name,
        ) from None


@dataclass(frozen=True, slots=True)
class Loras:
    """An array of `{"name": …, "scale": …}`; a form has it as JSON."""

    most: int
    parse = staticmethod(_array)

    def read(self, name: str, value: object) -> tuple[Lora, ...]:
        """The LoRAs, in their order; each once."""
        if not isinstance(value, list):
            raise wrong_type(name, "an array", value)
        if len(value) > self.most:
            raise too_many(name, self.most, len(value))
        loras = tuple(_lora(f"{name}[{index}]", item) for index, item in enumerate(value))
        names = [lora.name for lora in loras]
        for index, lora in enumerate(loras):
            if lora.name in names[:index]:
                where = f"{name}[{index}].name"
                raise errors.InvalidValue(f"'{echo(lora.name)}' is given twice.", where)
        return loras


def _lora(param: str, value: object) -> Lora:
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    sent = {key: item for key, item in value.items() if item is not None}
    for key in sent:
        if key not in ("name", "scale"):
            where = f"{param}.{echo(key)}"
            raise errors.UnknownParameter(f"Unknown parameter: '{where}'.", where)
    where = f"{param}.name"
    if "name" not in sent:
        raise errors.MissingParameter(f"Missing required parameter: '{where}'.", where)
    return Lora(
        NAME.read(where, sent["name"]), SCALE.read(f"{param}.scale", sent.get("scale", 1.0))
    )


def check_loras(loras: Sequence[Lora], model: str, registry: Registry) -> None:
    """Raises an InvalidValue for one that is not installed, or was made for other models."""
    for index, lora in enumerate(loras):
        if registry.loras.path(lora.name) is None:
            told = f"The LoRA '{echo(lora.name)}' does not exist."
        elif model not in (registry.loras.bases(lora.name) or {model}):
            told = f"The LoRA '{lora.name}' is not for the model '{model}'."
        else:
            continue
        raise errors.InvalidValue(told, f"loras[{index}].name")
