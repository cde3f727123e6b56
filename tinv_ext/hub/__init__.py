"""Hugging Face's hub: embeddings are uploaded to it, and embeddings and images come from it, by its own client."""
