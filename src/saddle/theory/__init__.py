"""Exact solutions: what games small enough to solve must do, and what a discriminator can at best reach.

Plain numbers in, plain numbers out; no network and no training code, so that nothing here can share a
mistake with what it judges. Every function states its formula, its source and where it holds, and raises
``ValueError`` elsewhere. "Derived" marks what is in no paper; its derivation is in the docstring.

``stability``: what a step of size h makes of eigenvalues. ``dirac``, ``bilinear``, ``linear_quadratic``: the
three games. ``gaussians``, ``held_modes``: divergences and the losses of an optimal discriminator.
``stochastic``: the spread that noise leaves. ``duality``: duality gaps.

Eigenvalues are those of the vector field v = −gradient, so negative real parts attract.
"""
