"""What `tools/gpu.py` measures on a GPU, a part in each file."""
