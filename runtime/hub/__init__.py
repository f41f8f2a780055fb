"""Repositories of the Hugging Face Hub: their names, and their files on this machine."""
