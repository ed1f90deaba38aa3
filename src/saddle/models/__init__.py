"""Networks: generators map latents (N, d) to samples, discriminators map samples to logits (N,)."""
