"""The image graphs, traced from thin modules."""
