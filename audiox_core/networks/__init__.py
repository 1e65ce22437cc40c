"""Networks: torch modules only; each takes dtype, device and operations, and never reads a file."""
