"""What the help of the commands says beside their options: examples, and what is kept of a source."""

from __future__ import annotations

TASKS = """examples
  text to audio     generate --text "Ocean waves crashing" -o waves.wav
  text to music     generate --text "An orchestral piece with a soaring melody" -o music.flac
  video to audio    generate --video clip.mp4 -o clip_with_sound.mp4
  video to music    generate --video clip.mp4 --text "Generate music for the video" -o clip_with_music.mp4
  text and video    generate --video clip.mp4 --text "footsteps on gravel" -o clip_with_sound.mp4
  image to audio    generate --image beach.jpg -o beach.wav
  audio prompt      generate --audio example.wav --text "the same, slower" -o variation.wav
  its whole length  generate --video long.mp4 --seconds 0 -o long_with_sound.mp4
  timed prompts     generate --seconds 30 --text rain --at 0:12 thunder -o storm.wav
  seamless loop     generate --seconds 8 --loop --text "a campfire" -o fire.wav
  no download       generate --model demo --text "anything" -o noise.wav
"""
EDITING = """Everything outside the edit is kept bit for bit in .wav (32-bit floating point), and in .flac (24-bit) if
the source has 16 or 24 bits; other sources are rounded there, and anything above full scale is clipped. A source at a
different rate from the model's is resampled first. A video's sound is re-encoded. Seconds of a video are counted from
its first picture."""
VARYING = (
    "The higher the strength, the less of the source is left. A video's picture is copied, its sound is re-encoded."
)
BATCH = """example rows (.jsonl; the header of a .csv uses the same names)
  {"text": "rain on a roof", "seconds": 30, "seed": 7, "output": "rain.wav"}
  {"video": "clips/door.mp4", "text": "a door slams", "mix": true, "normalize": "loudness"}

Names are the settings' own: text, negative_text, video, image, audio, seconds, steps, guidance, seed, ..., and
output, takes, spectrogram, mix, keep_rest, keep, duck, fade_in, fade_out. Relative paths start at the list's folder.
Run the same command again to continue after a stop: rows that are finished and unchanged are skipped. For several
devices, or machines that share a folder: accelerate launch --multi_gpu --num_processes 2 -m audiox_core batch ..."""
