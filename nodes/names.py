"""Names under which AudioX's own values travel in ComfyUI's CONDITIONING and LATENT dictionaries."""

from __future__ import annotations

# In a LATENT: how many seconds of it AudioX Decode keeps, and the latents that this was said of; samplers pass it on.
SECONDS = "audiox_seconds"
LATENTS = "audiox_latents"
# In a LATENT: that its end runs into its beginning.
LOOP = "audiox_loop"
# In a LATENT: the sound that an edit keeps, and where (see edit.Kept).
SOURCE = "audiox_source"
# In a CONDITIONING: the (latents, kept) that its windows were planned with. In a MODEL's options: windows.Wish.
WINDOWS = "audiox_windows"


def tokens_key(modality: str) -> str:
    """In a CONDITIONING: where the tokens of a modality stand, but for the text's, which are the condition itself."""
    return f"audiox_{modality}"


def origin_key(modality: str) -> str:
    """In a CONDITIONING: beside a modality's tokens, the name of the model they are from, and its kind (Model.kind)."""
    return f"audiox_{modality}_origin"
