"""Strict reading of JSON objects: each key asked for by name and type, what is left over is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError


class Section:
    """A JSON object read key by key; keys that nobody asked for are an error when it is closed."""

    def __init__(self, data: Any, path: str):
        if not isinstance(data, Mapping):
            raise ConfigError(f"{path}: expected a JSON object, got {data!r}. Use the config.json of the model.")
        self.data, self.path, self.left = data, path, set(data)

    def __enter__(self) -> Section:
        return self

    def __exit__(self, error: type | None, *_: object) -> None:
        if error is None and self.left:
            names = ", ".join(sorted(self.left))
            raise ConfigError(
                f"{self.path}: unknown keys: {names}. This config belongs to a model that is not supported."
            )

    def take(self, key: str, kind: Any, default: Any = None) -> Any:
        """The value of a key, checked against a type; without a default the key must be there."""
        if key not in self.data:
            if default is not None:
                return default
            raise ConfigError(f"{self.path}: key {key!r} is missing. Use the config.json of the model.")
        self.left.discard(key)
        value: Any = self.data[key]
        if not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 1)):
            wanted = "a positive integer" if kind is int else kind.__name__
            raise ConfigError(f"{self.path}.{key}: expected {wanted}, got {value!r}")
        return value

    def numbers(self, key: str) -> tuple[int, ...]:
        values = self.take(key, list)
        if not values or any(not isinstance(v, int) or isinstance(v, bool) or v < 1 for v in values):
            raise ConfigError(f"{self.path}.{key}: expected positive integers, got {values!r}")
        return tuple(values)

    def choice(self, key: str, valid: Mapping[str, Any] | tuple[str, ...], default: str | None = None) -> str:
        value = self.take(key, str, default)
        if value not in valid:
            raise ConfigError(f"{self.path}.{key}: {value!r} is not supported; known: {', '.join(valid)}")
        return value

    def ignore(self, *keys: str) -> None:
        """Keys that the released files carry and that change nothing."""
        self.left.difference_update(keys)

    def section(self, key: str) -> Section:
        return Section(self.take(key, Mapping), f"{self.path}.{key}")
