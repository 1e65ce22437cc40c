"""A checkpoint's keys by the names of the model's layout, whatever a training loop put before them."""

from __future__ import annotations

from collections.abc import Container, Iterable

# Levels of a pickle's content that hold the tensors, the first that is there: a trainer's, a distillation's.
LEVELS = ("state_dict", "model", "student", "student_state_dict")
# What wrappers around a model put before its names; the first is taken off that leaves a name of the layout.
WRAPPERS = ("student.model.", "student.", "module.", "model.")


def layout_names(keys: Iterable[str], expected: Container[str]) -> dict[str, str]:
    """(the layout's name: the file's own). A key that is in the layout, or fits it in no way, keeps its name."""
    own = list(keys)
    found = {key: key for key in own if key in expected}
    for key in own:
        if key in found:
            continue
        bare = (key.removeprefix(wrapper) for wrapper in WRAPPERS if key.startswith(wrapper))
        name = next((name for name in bare if name in expected and name not in found), key)
        found[name] = key
    return found
