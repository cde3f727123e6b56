"""Hugging Face's hub, by a small server that its own client talks to."""
