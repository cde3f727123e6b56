"""Training data: images, captions, buckets, cached latents, and the batches drawn from them."""
