"""Saddle: a laboratory for GAN convergence."""
