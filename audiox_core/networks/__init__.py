"""Networks: torch modules only; each takes dtype, compute_dtype, device and operations, and reads no file.

All compute where their input is: weights come to it, cast as they are used where they are kept in another type.

A backbone offers four things. `prepare(tokens, device=None)` takes the condition tokens (B, W, M, D) of each modality
by name, W a window axis, and gives a context with a row for each item and window: everything that depends on neither
latents nor timestep, once per condition; None is what the null condition means for this network, on `device`. A context
has `rows`, `expand(rows)` and `cat(other)`. `forward(x, t, context, attention=None)` gives the velocity like x
(B, C, L). `blocks` are what may be streamed, in the order in which they compute, and `once` names the paths inside a
block that only prepare uses. One that can keep more of its conditions from step to step than it needs has `hold`,
which says whether prepare does; whoever plans the memory may set it.
"""
