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
            wanted = "a positive integer" if kind is int else getattr(kind, "__name__", "a number")
            raise ConfigError(f"{self.path}.{key}: expected {wanted}, got {value!r}")
        return value

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number within bounds."""
        value = self.take(key, int, default)
        if not low <= value <= high:
            raise ConfigError(f"{self.path}.{key}: {value} is out of range; {low} to {high} is supported")
        return value

    def numbers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """One to a dozen whole numbers within bounds."""
        values = self.take(key, list)
        if not 1 <= len(values) <= 12 or any(type(v) is not int or not low <= v <= high for v in values):
            raise ConfigError(
                f"{self.path}.{key}: expected up to 12 whole numbers from {low} to {high}, got {values!r}"
            )
        return tuple(values)

    def sizes(self, key: str, defaults: Mapping[str, Any], largest: int) -> dict[str, Any] | None:
        """The arguments of a library's configuration: those of `defaults` and no others, positive and not too large.

        None where the key is absent. Words must be the default's: a library may take them for things to fetch or run.
        """
        if key not in self.data:
            return None
        with self.section(key) as inner:
            found: dict[str, Any] = {}
            for name, default in defaults.items():
                if isinstance(default, str):
                    found[name] = inner.choice(name, (default,), default)
                else:
                    found[name] = inner.number(name, 1, largest, default)
        return found

    def share(self, key: str, default: float = 0.0) -> float:
        """A number in 0..1."""
        value = self.take(key, (int, float), default)
        if isinstance(value, bool) or not 0 <= value <= 1:
            raise ConfigError(f"{self.path}.{key}: expected a number from 0 to 1, got {value!r}")
        return float(value)

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
