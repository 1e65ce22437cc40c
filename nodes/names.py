"""Names under which AudioX's own values travel in ComfyUI's CONDITIONING and LATENT dictionaries."""

# In a CONDITIONING: tokens of a video, tokens of an audio prompt, and whether it is the null condition.
VIDEO = "audiox_video"
AUDIO = "audiox_audio"
NULL = "audiox_null"
# In a LATENT: how many seconds of it AudioX Decode keeps; samplers pass it on.
SECONDS = "audiox_seconds"
