"""Files to modules: found or downloaded, read, checked, loaded."""
