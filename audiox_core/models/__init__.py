"""What a model is: its configuration, its clock, its released files; and the demo model."""
