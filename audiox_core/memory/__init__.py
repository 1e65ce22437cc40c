"""Memory: what the machine has, the plan that follows, and who carries it out."""
