"""The offline host: a diffusers pipeline, opened from a folder, a checkpoint file or the hub."""
