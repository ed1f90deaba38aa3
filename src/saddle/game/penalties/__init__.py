"""Terms added to a player's loss: on D's slopes, its consistency, weights of either player, and G's own."""
